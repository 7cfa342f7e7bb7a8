"""What the decision rule reads of the fleet.

The queue model: a call that finds n others at a candidate with c slots, n >= c, waits until n - c + 1 of them have ended;
while all slots are busy that happens c / S times a second, S being the mean time of a call (an M/M/c queue, first come
first served, given its state on arrival; Kleinrock, Queueing Systems 1, 1975, section 3.5). So it waits
max(0, n - c + 1) * S / c seconds.

n is what this sidecar has in flight by its own reckoning, right now, and what the servers had beside that when they were
last asked (DESIGN: dead reckoning): decisions since then are counted, and none twice.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.admission import Admission, Pick
from sidecar.fleet.columns import COLUMNS, IN_FLIGHT
from sidecar.fleet.estimate import Estimates, Priors, estimate
from sidecar.fleet.live import LiveFleet

# Times of calls change slowly, and to estimate them costs more than all the rest of a merge.
ESTIMATE_S = 0.05

Column = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Fleet(NamedTuple):
    """The candidates as they are now, each [C].

    Attributes:
        wait_seconds: a call that came now would wait so long for its turn; 0 where slots are unknown.
        first_token_seconds: from its turn to its first token; where unknown, the mean of the known ones.
        seconds_per_token: for each token after that; likewise.
        in_flight: calls there.
        slots: calls that are answered at a time; inf where unknown.
        backlog: calls that must end before another one's turn comes; below 0 where slots are free, -inf where unknown.
        step_seconds: what each of these costs: after k more calls the wait is max(0, backlog + k) * step_seconds.
        open: may not be chosen.
        quota: most further calls that it may get before this is read again; inf where there is no limit.
        share: of the requests that may choose it at all, 0 to 1; below 1 while traffic grows back.
        recovery_seconds: until it may be chosen again; 0 where it may.
        known: whether there are any figures of its time.
        uncertainty: standard error of the expected seconds, in seconds.
        plain: whether nobody is in anybody's way: `open`, `quota` and `share` need no look.
    """

    wait_seconds: Column
    first_token_seconds: Column
    seconds_per_token: Column
    in_flight: Column
    slots: Column
    backlog: Column
    step_seconds: Column
    open: Mask
    quota: Column
    share: Column
    recovery_seconds: Column
    known: Mask
    uncertainty: Column
    plain: bool


class FleetView:
    """The fleet in the order of one bundle's candidates.

    Args:
        live: the worker's.
        priors: of the candidates, in output order.
        now: monotonic seconds.

    Raises:
        ConfigError: a model name is unusable, or there are too many.
    """

    def __init__(self, live: LiveFleet, priors: Priors, now: float) -> None:
        self._live = live
        self._priors = priors
        rows = live.enter(priors.names, now)
        self._rows: list[int] = rows.tolist()
        # A slice costs nothing; as a rule the first bundle's candidates are the first rows.
        self._pick: Pick = slice(len(rows)) if self._rows == list(range(len(rows))) else rows
        self._version = -1
        self._moves = -1
        self._estimate_due = 0.0
        self._estimates: Estimates
        self._elsewhere: Column
        self._admission: Admission
        self._fleet: Fleet

    def read(self, now: float) -> Fleet:
        """The fleet now: what others did as of the last merge, what this worker did up to this moment.

        The columns are valid until the next call and not to be changed.
        """
        live = self._live
        live.refresh(now)
        if live.version != self._version:
            self._version = live.version
            pick = self._pick
            block = live.block[:, pick]
            if now >= self._estimate_due:
                self._estimates = estimate(block, self._priors, live.settings, now)
                self._estimate_due = now + ESTIMATE_S
            others = live.alive[:-1] @ block[:-1, :, IN_FLIGHT]
            self._elsewhere = others + self._estimates.foreign
            self._admission = live.admission.pick(pick)
        elif live.reckoning.moves == self._moves:
            return self._fleet
        self._moves = live.reckoning.moves
        self._fleet = compose(self._estimates, self._elsewhere + live.reckoning.in_flight[self._pick], self._admission)
        return self._fleet

    def decided(
        self, number: int, candidate: int, tokens: float, seconds: float, wait_seconds: float, now: float
    ) -> None:
        """A decision was made.

        Args:
            number: of the decision, the last part of its id; each larger than the one before.
            candidate: output index of the chosen one.
            tokens: expected of prompt and answer.
            seconds: expected until the end of the answer, the wait among them; 0 where unknown.
            wait_seconds: the expected wait among them.
            now: monotonic seconds.
        """
        self._live.decided(number, self._rows[candidate], tokens, seconds, wait_seconds, now)

    @property
    def estimates(self) -> Estimates:
        """What the last `read` rested on."""
        return self._estimates

    def columns(self) -> NDArray[np.float64]:
        """[W, C, COLUMNS]: all processes' rows that the last `read` rested on."""
        return self._live.block[:, self._pick].reshape(-1, len(self._rows), COLUMNS)


def compose(estimates: Estimates, counted: Column, admission: Admission) -> Fleet:
    """The fleet, given the calls in flight [C], of this sidecar and others; a count below 0 is taken as 0."""
    in_flight = np.maximum(counted, estimates.zeros)
    backlog = in_flight - estimates.slots_but_one
    return Fleet(
        np.maximum(backlog, estimates.zeros) * estimates.step_seconds,
        estimates.first_token_seconds,
        estimates.seconds_per_token,
        in_flight,
        estimates.slots,
        backlog,
        estimates.step_seconds,
        admission.open,
        admission.quota,
        admission.share,
        admission.recovery_seconds,
        estimates.known,
        estimates.uncertainty,
        admission.plain,
    )

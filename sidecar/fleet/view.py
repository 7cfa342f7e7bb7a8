"""What the decision rule reads of the fleet.

The queue model: a call that finds n others at a candidate with c slots, n >= c, waits until n - c + 1 of them have ended;
while all slots are busy that happens c / S times a second, S being the mean time of a call (an M/M/c queue, first come
first served, given its state on arrival; Kleinrock, Queueing Systems 1, 1975, section 3.5). So it waits
max(0, n - c + 1) * S / c seconds.

n is what this sidecar has in flight by its own reckoning, right now, and what the servers had beside that when they were
last asked (DESIGN: dead reckoning): decisions since then are counted, and none twice.

Between two merges all workers see the same queues and would all fill the same gap. So each counts its own decisions of
that time as many times as there are decisions of all workers to one of its own (`crowd`): if all act alike, the gap is
filled just once.

Other sidecars are heard of less often (`Peers`). So what all workers of this sidecar together added since then is counted
once more for each decision that the others make to one of this sidecar's.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.admission import Admission, Pick
from sidecar.fleet.columns import COLUMNS, IN_FLIGHT, IN_FLIGHT_THEN, LIKEWISE, STARTED
from sidecar.fleet.estimate import Estimates, Priors, estimate
from sidecar.fleet.live import LiveFleet

# Times of calls change slowly, and to estimate them costs more than all the rest of a merge. While nobody says anything
# new, only the weight of what was said changes: by 3 % in this share of the shortest half-life.
ESTIMATE_S, ESTIMATE_ANYWAY = 0.05, 0.05
# Over about so long it is counted which part of all decisions this worker makes.
CROWD_S = 0.25

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
        backlog: calls that must end before another one's turn comes, those among them that other workers are presumed to
            have decided since the last merge; below 0 where slots are free, -inf where unknown.
        step_seconds: what each of these costs: after k more calls of this batch the wait is
            max(0, backlog + k * crowd) * step_seconds.
        crowd: calls that all workers of all sidecars decide while this one decides one; 1 or more.
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
    crowd: float
    open: Mask
    quota: Column
    share: Column
    recovery_seconds: Column
    known: Mask
    uncertainty: Column
    plain: bool


class Peers(NamedTuple):
    """What is presumed of other sidecars since they were heard of.

    Attributes:
        likewise: [C] decisions that they make while this sidecar makes one.
        since: [C] calls in flight that this sidecar added since they counted theirs; below 0 is taken as 0.
        crowd: the largest of the first.
    """

    likewise: Column
    since: Column
    crowd: float


class FleetView:
    """The fleet in the order of one bundle's candidates. May be made in any thread; all else belongs to the transport's.

    Args:
        live: the worker's.
        priors: of the candidates, in output order.

    Raises:
        ConfigError: a model name is unusable, or there are too many.
    """

    def __init__(self, live: LiveFleet, priors: Priors) -> None:
        self._live = live
        self._priors = priors
        live.check(priors.names)
        self._rows: list[int] = []
        self._pick: Pick = slice(0)
        self._version = self._heard = -1
        self._moves = -1
        settings = live.settings
        self._estimate_anyway_s = ESTIMATE_ANYWAY * min(
            settings.telemetry_half_life_seconds,
            settings.telemetry_unknown_after_seconds,
            settings.latency_half_life_seconds,
        )
        self._estimate_due = self._estimate_anyway = 0.0
        self._estimated = -1  # what was heard by the last time
        self._estimates: Estimates
        self._others: Column
        self._elsewhere: Column
        self._own: Column
        self._started_elsewhere = 0.0
        self._processes = 1.0
        self._crowd = 1.0
        self._peers: Peers | None = None
        self._decided_all = self._decided_own = 0.0  # decayed, as of _counted_at
        self._started_all = self._started_own = -1.0
        self._counted_at = 0.0
        self._admitted: Admission | None = None
        self._admission: Admission
        self._fleet: Fleet

    def read(self, now: float, spare_s: float = 0.0) -> Fleet:
        """The fleet now: what others did as of the last merge, what this worker did up to this moment.

        The columns are valid until the next call and not to be changed.

        Args:
            now: monotonic seconds.
            spare_s: see LiveFleet.refresh.
        """
        live = self._live
        live.refresh(now, spare_s)
        if live.version != self._version:
            if not self._rows:
                self._enter(now)
            self._version = live.version
            self._merge(live, live.block[:, self._pick], now)
        elif live.reckoning.moves == self._moves:
            return self._fleet
        self._moves = live.reckoning.moves
        own = live.reckoning.in_flight[self._pick]
        self._fleet = compose(
            self._estimates, self._elsewhere + own, own - self._own, self._admission, self._crowd, self._peers
        )
        return self._fleet

    def decided(
        self, number: int, candidate: int, tokens: float, seconds: float, wait_seconds: float, now: float
    ) -> None:
        """A decision was made, from what `read` gave.

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

    def _enter(self, now: float) -> None:
        rows = self._live.enter(self._priors.names, now)
        self._rows = rows.tolist()
        # A slice costs nothing; as a rule the first bundle's candidates are the first rows.
        self._pick = slice(len(rows)) if self._rows == list(range(len(rows))) else rows

    def _merge(self, live: LiveFleet, block: NDArray[np.float64], now: float) -> None:
        """Takes over what has changed since the last merge."""
        news = live.heard != self._heard
        if news:
            self._heard = live.heard
            self._others = live.alive[:-1] @ block[:-1, :, IN_FLIGHT]
            started = block[:-1, :, STARTED]
            self._started_elsewhere, self._processes = float(started.sum()), float(live.alive.sum())
            if live.peers >= 0:
                self._started_elsewhere -= float(started[live.peers].sum())
                self._processes -= 1.0
        if now >= self._estimate_due and (self._estimated != self._heard or now >= self._estimate_anyway):
            self._estimates = estimate(block, self._priors, live.settings, now)
            self._estimated = self._heard
            self._estimate_due, self._estimate_anyway = now + ESTIMATE_S, now + self._estimate_anyway_s
            news = True
        if news:
            self._elsewhere = self._others + self._estimates.foreign
        if live.admission is not self._admitted:
            self._admitted, self._admission = live.admission, live.admission.pick(self._pick)
        self._own = live.reckoning.in_flight[self._pick].copy()
        self._crowd = self._count(sum(block[-1, :, STARTED].tolist()), now)
        self._peers = None if live.peers < 0 else _peers(block[live.peers], self._others + self._own)

    def _count(self, own: float, now: float) -> float:
        """The crowd, at most as many as there are processes; `own` decisions were made here since the start."""
        everyone = self._started_elsewhere + own
        if self._started_all >= 0.0:
            decay = 0.5 ** ((now - self._counted_at) / CROWD_S)
            self._decided_all = self._decided_all * decay + max(0.0, everyone - self._started_all)
            self._decided_own = self._decided_own * decay + max(0.0, own - self._started_own)
        self._started_all, self._started_own, self._counted_at = everyone, own, now
        return max(1.0, min(self._processes, (self._decided_all + 1.0) / (self._decided_own + 1.0)))


def _peers(rows: NDArray[np.float64], counted: Column) -> Peers | None:
    """See Peers.

    Args:
        rows: [C, COLUMNS] what was heard of them.
        counted: [C] calls in flight of all sidecars.
    """
    likewise = rows[:, LIKEWISE]
    crowd = float(likewise.max())
    return Peers(likewise, counted - rows[:, IN_FLIGHT] - rows[:, IN_FLIGHT_THEN], crowd) if crowd else None


def compose(
    estimates: Estimates,
    counted: Column,
    since: Column,
    admission: Admission,
    crowd: float = 1.0,
    peers: Peers | None = None,
) -> Fleet:
    """The fleet.

    Args:
        estimates: of all processes together.
        counted: [C] calls in flight, of this sidecar and others; below 0 is taken as 0.
        since: [C] of these, what this process added since the last merge.
        admission: who may be chosen.
        crowd: calls that all processes decide while this one decides one.
        peers: as of the last merge; None: there are no other sidecars.
    """
    in_flight = np.maximum(counted, estimates.zeros)
    backlog = in_flight - estimates.slots_but_one
    presumed = np.maximum(since, estimates.zeros) * (crowd - 1.0) if crowd > 1.0 else estimates.zeros
    if crowd > 1.0:
        backlog += presumed
    if peers is not None:
        backlog += peers.likewise * np.maximum(peers.since + since + presumed, estimates.zeros)
        crowd *= 1.0 + peers.crowd
    return Fleet(
        np.maximum(backlog, estimates.zeros) * estimates.step_seconds,
        estimates.first_token_seconds,
        estimates.seconds_per_token,
        in_flight,
        estimates.slots,
        backlog,
        estimates.step_seconds,
        crowd,
        admission.open,
        admission.quota,
        admission.share,
        admission.recovery_seconds,
        estimates.known,
        estimates.uncertainty,
        admission.plain,
    )

"""The fleet in numbers, for Prometheus and for the terminal; from any process that can open the table."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sidecar.fleet.breaker import Breaker
from sidecar.fleet.budget import DAY_S, PREFIX
from sidecar.fleet.columns import (
    CALLS,
    CHANGED_AT,
    COLUMNS,
    COOL_UNTIL,
    DAY,
    ERRORS,
    ERRORS_AT,
    EXPIRED,
    FAULTS,
    IN_FLIGHT,
    KV_USED,
    LOAD_AT,
    OPEN,
    OUTCOMES,
    RUNNING,
    SILENCE,
    STARTED,
    SUSPICIONS,
    TOKENS_IN_FLIGHT,
    TOKENS_STARTED,
    USD,
    WAITING,
)
from sidecar.fleet.estimate import Priors, estimate
from sidecar.fleet.latency import FAINT
from sidecar.fleet.limits import exhaust
from sidecar.fleet.reader import Block, Reader
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.view import Fleet, compose


class CandidateFigures(NamedTuple):
    """One candidate's figures; nan is unknown.

    Attributes:
        name: its model name.
        state: `closed`, `open` (calls failed), `silent` (open since its calls hung), `half_open`, `slow_start`, `cooling` (it
            asked for that, or its limits are used up).
        share: of the requests that may choose it, 0 to 1.
        recovery_seconds: until it may be chosen again.
        in_flight: calls there, of this sidecar and others.
        own_in_flight: of this sidecar.
        tokens_in_flight: expected in these.
        slots: calls that are answered at a time.
        wait_seconds: a call that came now would wait so long.
        first_token_seconds: expected.
        seconds_per_token: expected.
        uncertainty_seconds: standard error of the expected seconds.
        evidence: outcomes, decayed, that the times rest on.
        error_rate: recent share of failed calls.
        running: as the server said.
        waiting: as the server said.
        kv_used: as the server said.
        telemetry_age_seconds: since it said so.
        decisions: since the start; these and the following only grow.
        tokens: expected in them.
        outcomes: heard of.
        faults: among them.
        expired: calls that no outcome was heard of in time.
        suspicions: how often it was left alone since its calls hung.
    """

    name: str
    state: str
    share: float
    recovery_seconds: float
    in_flight: float
    own_in_flight: float
    tokens_in_flight: float
    slots: float
    wait_seconds: float
    first_token_seconds: float
    seconds_per_token: float
    uncertainty_seconds: float
    evidence: float
    error_rate: float
    running: float
    waiting: float
    kv_used: float
    telemetry_age_seconds: float
    decisions: float
    tokens: float
    outcomes: float
    faults: float
    expired: float
    suspicions: float


class BudgetFigures(NamedTuple):
    """What was used of one budget, by all workers of this sidecar together.

    Attributes:
        name: of the budget.
        requests: since the start.
        tokens: expected in them.
        usd_today: expected cost of those since midnight UTC; 0 where the budget does not limit it.
    """

    name: str
    requests: float
    tokens: float
    usd_today: float


class Figures:
    """Reads the whole table now and then; costs a fraction of a millisecond.

    Args:
        table: the fleet's.
        settings: as the workers'.
        priors: what is configured, by model name: seconds to the first token, seconds for each further one, mean output
            tokens, concurrency; nan is unknown.
    """

    def __init__(
        self,
        table: FleetTable,
        settings: FleetConfig,
        priors: Mapping[str, tuple[float, float, float, float]] | None = None,
    ) -> None:
        self._table = table
        self._settings = settings
        self._priors = priors or {}
        self._names: list[str] = []
        self._reader = Reader(table, [], spare=1)

    def read(self, now: float) -> list[CandidateFigures]:
        """The figures of all candidates that any process of this sidecar knows, by name.

        Args:
            now: monotonic seconds.
        """
        names = self._known()
        if names != self._names:
            self._names, self._reader = names, Reader(self._table, names, spare=1)
        if not names:
            return []
        block = self._reader.read()
        alive = now - self._table.heartbeats[self._reader.writers] < self._settings.dead_after_seconds
        alive = np.append(alive, False)  # the blank entry, in the place of a process's own
        breaker = Breaker(_blank(len(names)), self._settings.breaker, lambda: 0.0, turn_s=0.0)
        admission = exhaust(block, breaker.merge(block, alive, 0, now), now)
        estimates = estimate(block, self._prior_columns(names), self._settings, now)
        ours = np.ones(len(alive), np.bool_)
        if self._reader.peers >= 0:
            ours[self._reader.peers] = False
        own = (alive & ours) @ block[:, :, IN_FLIGHT]
        everywhere = alive @ block[:, :, IN_FLIGHT] + estimates.foreign
        fleet = compose(estimates, everywhere, estimates.zeros, admission)
        totals = block[ours][:, :, (STARTED, TOKENS_STARTED, OUTCOMES, FAULTS, EXPIRED, SUSPICIONS)].sum(axis=0)
        load = block[block[:, :, LOAD_AT].argmax(axis=0), np.arange(len(names))]
        decay = np.exp2(np.minimum(block[:, :, ERRORS_AT] - now, 0.0) / self._settings.breaker.window_seconds)
        calls, errors = (decay * block[:, :, CALLS]).sum(axis=0), (decay * block[:, :, ERRORS]).sum(axis=0)
        tokens = (alive & ours) @ block[:, :, TOKENS_IN_FLIGHT]
        said = load[:, LOAD_AT] > 0.0
        return [
            CandidateFigures(
                name,
                _state(block, at, fleet, now),
                float(fleet.share[at]),
                float(fleet.recovery_seconds[at]),
                float(fleet.in_flight[at]),
                float(own[at]),
                float(tokens[at]),
                float(fleet.slots[at]) if fleet.slots[at] < math.inf else math.nan,
                float(fleet.wait_seconds[at]),
                float(fleet.first_token_seconds[at]) if fleet.known[at] else math.nan,
                float(fleet.seconds_per_token[at]) if fleet.known[at] else math.nan,
                float(fleet.uncertainty[at]),
                float(estimates.evidence.service_n[at]),
                float(errors[at] / calls[at]) if calls[at] >= FAINT else math.nan,
                float(load[at, RUNNING]) if said[at] else math.nan,
                float(load[at, WAITING]) if said[at] else math.nan,
                float(load[at, KV_USED]) if said[at] else math.nan,
                now - float(load[at, LOAD_AT]) if said[at] else math.nan,
                *totals[at].tolist(),
            )
            for at, name in enumerate(names)
        ]

    def budgets(self, unix: float) -> list[BudgetFigures]:
        """What was used of all budgets that any process knows, by name.

        Args:
            unix: Unix seconds.
        """
        names = self._known(budgets=True)
        block = Reader(self._table, names, without=self._table.peers).read()
        used = block[:, :, (STARTED, TOKENS_STARTED)].sum(axis=0)
        today = np.where(block[:, :, DAY] == unix // DAY_S, block[:, :, USD], 0.0).sum(axis=0)
        return [
            BudgetFigures(name.removeprefix(PREFIX), float(used[at, 0]), float(used[at, 1]), float(today[at]))
            for at, name in enumerate(names)
        ]

    def _known(self, *, budgets: bool = False) -> list[str]:
        labels = {
            label
            for writer in self._table.claimed().tolist()
            if writer != self._table.peers
            for label in self._table.label(writer)
        }
        return sorted(name for label in labels if (name := label.decode()).startswith(PREFIX) is budgets)

    def _prior_columns(self, names: list[str]) -> Priors:
        unknown = (math.nan, math.nan, 0.0, math.nan)
        return Priors(names, *np.array([self._priors.get(name, unknown) for name in names]).T)


def _state(block: Block, at: int, fleet: Fleet, now: float) -> str:
    changes = block[:, at, CHANGED_AT:COOL_UNTIL]
    _, kind, until, _, cause = changes[changes[:, 0].argmax()].tolist()
    if kind == OPEN:
        return "half_open" if now >= until else "silent" if cause == SILENCE else "open"
    if fleet.open[at]:
        return "cooling"
    return "slow_start" if fleet.share[at] < 1.0 else "closed"


def _blank(rows: int) -> "memoryview[float]":
    return memoryview(bytearray(rows * COLUMNS * 8)).cast("d")

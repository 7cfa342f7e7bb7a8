"""A small fleet for the tests of this folder: a table, a clock that only the test moves, workers in one process."""

import math
from collections.abc import Sequence

import numpy as np

from sidecar.fleet.estimate import Priors
from sidecar.fleet.live import LiveFleet
from sidecar.fleet.outcome import Outcome
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.view import Fleet, FleetView

UNIX = 1_800_000_000.0
NAN = math.nan


class Clock:
    """Monotonic seconds that only the test moves; Unix seconds go along."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def unix(self) -> float:
        return UNIX + self.now


def priors_of(
    names: Sequence[str],
    first: float = NAN,
    per_token: float = NAN,
    tokens: float = 100.0,
    slots: float | Sequence[float] = NAN,
) -> Priors:
    columns = (np.broadcast_to(np.array(value, np.float64), len(names)) for value in (first, per_token, tokens, slots))
    return Priors(names, *columns)


class Worker:
    """A worker's fleet with one bundle's view of it, and numbers for its decisions."""

    def __init__(
        self, table: FleetTable, number: int, priors: Priors, clock: Clock, settings: FleetConfig | None = None
    ) -> None:
        self.clock = clock
        self.live = LiveFleet(
            table, number, settings or FleetConfig(), clock=clock, unix=clock.unix, chance=lambda: 0.0
        )
        self.view = FleetView(self.live, priors)
        self.taken = 0
        self.read()

    def read(self) -> Fleet:
        return self.view.read(self.clock.now)

    def decide(self, candidate: int, tokens: float = 100.0, seconds: float = 1.0, wait: float = 0.0) -> str:
        number = self.taken
        self.taken += 1
        self.view.decided(number, candidate, tokens, seconds, wait, self.clock.now)
        return f"{0:012x}{self.live.process:010x}{number:010x}"

    def hear(self, decision_id: str, outcome: Outcome | None = None, model: str = "") -> bool:
        return self.live.hear(decision_id, outcome or Outcome(), self.clock.now, model)

    def look(self, seconds: float = 0.01) -> Fleet:
        """Lets time pass and merges."""
        self.clock.now += seconds
        return self.read()

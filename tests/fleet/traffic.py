"""A gateway and its candidates in virtual time, over real workers of one table: calls that are answered, hang, or are lost."""

import heapq
import random
from collections.abc import Callable, Sequence
from itertools import count

from sidecar.fleet.columns import OPEN, SUSPICIONS
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from tests.fleet.stage import Clock, Worker, priors_of

TICK_S = 0.04
EXPECTED_S = 1.0


class Traffic:
    """Calls come at random, and take what is expected of them, more or less.

    Attributes:
        hanging: candidates of which nothing comes any more, until `thaw`.
        pace: by which factor each candidate is slower than expected.
        tokens: expected in each call of a candidate.
        mute: nothing is reported.
        heap_s: reports are kept and sent together, so many seconds apart; 0: at once.
        patience_s: a call is reported as timed out after so long.
        shares: of the calls, by candidate.
        chosen: decisions of each tenth of a second, by candidate.
    """

    def __init__(
        self, table: FleetTable, shares: Sequence[float], rate: float, workers: int = 1, seed: int = 1
    ) -> None:
        self.clock, self._rng = Clock(), random.Random(seed)
        self._begun = self.clock.now
        names = [f"model-{number}" for number in range(len(shares))]
        self.workers = [
            Worker(table, number, priors_of(names, first=EXPECTED_S, per_token=0.0), self.clock, FleetConfig())
            for number in range(workers)
        ]
        self.shares, self._rate = list(shares), rate
        self.hanging: set[int] = set()
        self.pace = [1.0] * len(shares)
        self.tokens = [100.0] * len(shares)
        self._away = False
        self.mute, self.heap_s, self.patience_s = False, 0.0, float("inf")
        self.chosen: dict[int, list[int]] = {}
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._open: set[str] = set()
        self._stuck: list[tuple[int, str, float, float]] = []
        self._at(0.0, self._tick)
        self._at(0.0, self._arrive)

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock.now - self._begun

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.clock.now + seconds
        while self._events[0][0] <= end:
            at, _, event = heapq.heappop(self._events)
            self.clock.now = max(self.clock.now, at)
            event()
        self.clock.now = end

    def pause(self, seconds: float) -> None:
        """The gateway is away: it forgets all calls, and asks nothing."""
        self._open.clear()
        self._away = True
        self.run(seconds)
        self._away = False

    def thaw(self) -> None:
        """What hung goes on."""
        self.hanging.clear()
        stuck, self._stuck = self._stuck, []
        for candidate, decision, decided, left_s in stuck:
            self._at(left_s, lambda c=candidate, d=decision, t=decided: self._answer(c, d, t))  # type: ignore[misc]

    def suspicions(self) -> list[float]:
        """How often each candidate was suspected."""
        return [
            float(sum(worker.live.writer.rows[row, SUSPICIONS] for worker in self.workers))
            for row in range(len(self.shares))
        ]

    def opened(self, candidate: int) -> bool:
        """Whether the breaker of a candidate is open."""
        change = self.workers[0].live._breaker._changes.get(candidate)
        return change is not None and change.kind == OPEN

    def share(self, candidate: int, since: float, until: float) -> float:
        """Of the decisions in between."""
        spans = [
            self.chosen.get(tenth, [0] * len(self.shares)) for tenth in range(round(since * 10), round(until * 10))
        ]
        return sum(span[candidate] for span in spans) / sum(sum(span) for span in spans)

    def _at(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.clock.now + seconds, next(self._numbers), event))

    def _tick(self) -> None:
        for worker in self.workers:
            worker.live.refresh(self.clock.now)
        self._at(TICK_S, self._tick)

    def _arrive(self) -> None:
        self._at(self._rng.expovariate(self._rate), self._arrive)
        if self._away:
            return
        worker = self._rng.choice(self.workers)
        fleet = worker.read()
        able = [
            share * (not closed and quota > 0.0 and self._rng.random() < grown)
            for share, closed, quota, grown in zip(
                self.shares, fleet.open.tolist(), fleet.quota.tolist(), fleet.share.tolist(), strict=True
            )
        ]
        if not any(able):
            return
        [candidate] = self._rng.choices(range(len(able)), able)
        self.chosen.setdefault(int(self.now * 10), [0] * len(able))[candidate] += 1
        decision = worker.decide(candidate, tokens=self.tokens[candidate], seconds=EXPECTED_S)
        self._open.add(decision)
        takes_s = EXPECTED_S * self.pace[candidate] * self._rng.lognormvariate(0.0, 0.6)
        decided = self.clock.now
        self._at(takes_s, lambda: self._answer(candidate, decision, decided))
        if self.patience_s < float("inf"):
            self._at(self.patience_s, lambda: self._report(decision, Outcome(Fault.TIMEOUT)))

    def _answer(self, candidate: int, decision: str, decided: float) -> None:
        if candidate in self.hanging:
            self._stuck.append((candidate, decision, decided, self._rng.random()))
            return
        took_s = self.clock.now - decided
        self._report(decision, Outcome(first_token_seconds=took_s, latency_seconds=took_s, output_tokens=1.0))

    def _report(self, decision: str, outcome: Outcome) -> None:
        if decision not in self._open:
            return
        self._open.discard(decision)
        if self.mute:
            return
        after_s = -self.now % self.heap_s if self.heap_s else 0.0
        self._at(after_s, lambda: self._tell(decision, outcome))

    def _tell(self, decision: str, outcome: Outcome) -> None:
        self._rng.choice(self.workers).hear(decision, outcome)

"""A favourite fails and comes back, under load, with several workers: who gets what, and when."""

import heapq
import random
from collections import Counter

import pytest

from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from tests.fleet.chooser import assign
from tests.fleet.stage import Clock, Worker, priors_of

RATE = 200.0
FAILS, RECOVERS, ENDS = 10.0, 30.0, 45.0


def run(table: FleetTable, workers_n: int, fault: Outcome, answer_s: float) -> dict[int, Counter[int]]:
    """Decisions by tenth of a second and candidate; the first candidate is worth most to everybody."""
    clock, rng = Clock(), random.Random(7)
    start = clock.now
    priors = priors_of(["best", "second"], first=answer_s, per_token=0.0, slots=1000.0)
    workers = [Worker(table, number, priors, clock, FleetConfig()) for number in range(workers_n)]
    answers: list[tuple[float, str, Outcome]] = []
    chosen: dict[int, Counter[int]] = {}
    for turn in range(int(ENDS * RATE)):
        clock.now = start + turn / RATE
        now = clock.now - start
        while answers and answers[0][0] <= clock.now:
            _, decision, outcome = heapq.heappop(answers)
            rng.choice(workers).hear(decision, outcome)
        if turn % 4 == 0:
            for worker in workers:
                worker.live.refresh(clock.now)  # as the lane does now and then
        worker = rng.choice(workers)
        [candidate] = assign(worker.read(), 1, worth=(10.0, 0.0), rng=rng)
        chosen.setdefault(int(now * 10), Counter())[candidate] += 1
        decision = worker.decide(candidate, seconds=answer_s)
        ill = candidate == 0 and FAILS <= now < RECOVERS
        outcome = fault if ill else Outcome(first_token_seconds=answer_s, latency_seconds=answer_s, output_tokens=1.0)
        heapq.heappush(answers, (clock.now + (0.05 if ill else answer_s), decision, outcome))
    return chosen


def share(chosen: dict[int, Counter[int]], since: float, until: float) -> float:
    total: Counter[int] = Counter()
    for tenth in range(int(since * 10), int(until * 10)):
        total.update(chosen.get(tenth, Counter()))
    return total[0] / total.total()


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("answer_s", [0.3, 2.0])
def test_a_candidate_that_fails_is_left_alone_and_comes_back_without_a_stampede(
    table: FleetTable, workers: int, answer_s: float
) -> None:
    chosen = run(table, workers, Outcome(Fault.SERVER), answer_s)
    assert share(chosen, 0.0, FAILS) == 1.0
    assert share(chosen, FAILS + 2.0, RECOVERS) < 0.01
    assert share(chosen, RECOVERS + 10.0, ENDS) == 1.0
    # It grows back over seconds: never more than what the straight line allows, with some room for chance.
    begin = next(
        tenth for tenth in range(int(RECOVERS * 10), 450) if share(chosen, tenth / 10, tenth / 10 + 0.5) > 0.05
    )
    for second in range(3):
        since = begin / 10 + second
        assert share(chosen, since, since + 0.5) < 0.1 + 0.9 * (second + 1.0) / 4.0 + 0.12


def test_a_candidate_over_its_rate_is_left_alone_for_as_long_as_it_asked(table: FleetTable) -> None:
    chosen = run(table, 2, Outcome(Fault.RATE_LIMIT, retry_after_seconds=5.0), 0.3)
    assert share(chosen, FAILS + 0.5, FAILS + 4.5) == 0.0
    assert share(chosen, RECOVERS + 10.0, ENDS) == 1.0

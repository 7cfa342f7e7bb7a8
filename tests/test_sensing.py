from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.config import CandidateConfig, Config
from sidecar.fleet.regions import OwnMemory, Shared
from sidecar.fleet.settings import BudgetConfig, FleetConfig
from sidecar.routing.decision import Choice
from sidecar.routing.policy import Terms
from sidecar.sensing import Sensed, Sensing
from tests.fleet.stage import UNIX, Clock
from tests.routing.fleet import ask_for, scores_of, table_of

# A slot each, and calls that last a second; the bundle's answers are 100 tokens long.
ENTRIES = tuple(
    CandidateConfig(name=name, first_token_seconds=0.0, seconds_per_output_token=0.01, concurrency=1)
    for name in ("small", "medium", "large")
)
Sense = Callable[[FleetConfig], Sensed]


@pytest.fixture
def sense() -> Iterator[Sense]:
    """Makes a worker's decision rule with its own memory, on a clock that stands still."""
    clock, made = Clock(UNIX), []

    def sensed(fleet: FleetConfig) -> Sensed:
        config = Config(candidates=ENTRIES, fleet=fleet)
        memory = OwnMemory(config)
        sensing = Sensing(config, 0, memory.directory, clock=clock, unix=clock, draw=lambda: 0.0)
        made.append((sensing, memory))
        return sensing.of(table_of(*ENTRIES))

    yield sensed
    for sensing, memory in made:
        sensing.close()
        memory.close()


def first_choices(rule: Sensed, amount: int) -> list[int]:
    """Of requests that come one by one, and of which none ends."""
    ask, scores = ask_for(terms=Terms(1.0, 0.01), prompt_tokens=0), scores_of([[0.80, 0.76, 0.1]])
    found = []
    for number in range(amount):
        decision = rule.choose([ask], scores)
        rule.took(number, [ask], decision)
        (choice,) = decision[1]
        assert isinstance(choice, Choice)
        found.append(choice.ranking[0])
    return found


def test_by_default_a_queue_is_left_before_its_own_wait_outweighs_the_better_answer(sense: Sense) -> None:
    # 0.04 of quality are four seconds; two calls that wait cost two seconds, which counts for six.
    assert first_choices(sense(FleetConfig()), 4) == [0, 0, 1, 0]


def test_each_request_minds_only_itself_where_the_operator_says_so(sense: Sense) -> None:
    assert first_choices(sense(FleetConfig(congestion_factor=1.0)), 6) == [0, 0, 0, 0, 0, 1]


def test_a_worker_without_requests_does_not_take_what_another_used_meanwhile_for_one_burst(tmp_path: Path) -> None:
    budget = BudgetConfig(name="rate", requests_per_minute=60.0, burst_seconds=5.0, when_used_up="refuse")
    config, clock = Config(candidates=ENTRIES, budgets=(budget,)), Clock(UNIX)
    shared = Shared(config, 2, tmp_path)
    workers = [Sensing(config, number, tmp_path, clock=clock, unix=clock, draw=lambda: 0.0) for number in range(2)]
    busy, idle = (worker.of(table_of(*ENTRIES)) for worker in workers)
    ask, scores = ask_for(terms=Terms(1.0)), scores_of([[0.8, 0.7, 0.1]])
    for number in range(120):  # half of what the budget allows
        decision = busy.choose([ask], scores)
        busy.took(number, [ask], decision)
        clock.now += 2.0
        for worker in workers:
            worker.live.writer.beat()
            worker.between()
    (outcome,) = idle.choose([ask], scores)[1]
    assert isinstance(outcome, Choice)
    assert workers[1].uses()[0][1] == 0.0
    for worker in workers:
        worker.close()
    shared.close()

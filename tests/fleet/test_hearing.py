"""What outcomes mean to a worker: of the decided model and of those that the gateway fell back to, in any order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.fleet.attempts import MOST_DECISIONS
from sidecar.fleet.columns import FAULTS, FIRST_N, OUTCOMES, SIGN_AT
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from tests.fleet.stage import Clock, Worker, priors_of

NAMES = ["a", "b", "c"]
A, B, C = range(3)
ERROR = Outcome(Fault.SERVER)
SLOW = Outcome(first_token_seconds=3.0, latency_seconds=4.0, output_tokens=10.0)
BEGUN = Outcome(first_token_seconds=0.5, ended=False)


def workers_of(table: FleetTable, clock: Clock, amount: int = 2) -> list[Worker]:
    return [Worker(table, number, priors_of(NAMES, first=0.5), clock) for number in range(amount)]


def heard(workers: list[Worker], column: int = OUTCOMES) -> list[float]:
    return [float(sum(worker.live.writer.rows[row, column] for worker in workers)) for row in range(3)]


def look_all(workers: list[Worker]) -> None:
    for worker in (*workers, *workers):
        worker.look()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_failed_call_and_the_answer_of_another_model_each_count_for_their_own(
    table: FleetTable, clock: Clock, *, elsewhere: bool
) -> None:
    one, two = workers = workers_of(table, clock)
    decision = one.decide(A)
    clock.now += 3.0
    ear = two if elsewhere else one
    ear.hear(decision, ERROR)
    ear.hear(decision, SLOW, model="b")
    look_all(workers)
    assert heard(workers) == [1.0, 1.0, 0.0]
    assert heard(workers, FAULTS) == [1.0, 0.0, 0.0]
    assert heard(workers, FIRST_N) == pytest.approx([0.0, 1.0, 0.0], abs=0.01)
    fleet = one.look(0.06)
    assert fleet.in_flight.tolist() == [0.0, 0.0, 0.0]
    assert fleet.first_token_seconds[B] > 0.5
    assert fleet.first_token_seconds[A] == pytest.approx(0.5)


def test_they_count_in_either_order(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    decision = one.decide(A)
    clock.now += 3.0
    assert one.hear(decision, SLOW, model="b")
    assert one.read().in_flight[A] == 0.0  # the gateway has gone on to another one
    assert one.hear(decision, ERROR)
    assert heard([one]) == [1.0, 1.0, 0.0]


def test_repeated_none_of_them_counts_again(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    decision = one.decide(A)
    clock.now += 3.0
    for _ in range(3):
        for ear in (one, two):
            ear.hear(decision, ERROR)
            ear.hear(decision, ERROR, model="b")
            ear.hear(decision, SLOW, model="c")
            ear.hear(decision, SLOW, model="a")
            look_all([one, two])
    assert heard([one, two]) == [1.0, 1.0, 1.0]
    assert heard([one, two], FAULTS) == [1.0, 1.0, 0.0]


def test_failures_of_models_that_the_gateway_fell_back_to_open_their_breakers(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    for _ in range(FleetConfig().breaker.consecutive_errors):
        decision = one.decide(A)
        clock.now += 0.01
        one.hear(decision, SLOW._replace(latency_seconds=0.01))
        one.hear(decision, ERROR, model="b")
    assert one.look().open.tolist() == [False, True, False]


def test_a_name_that_is_no_candidates_is_another_name_of_the_decided_one(table: FleetTable, clock: Clock) -> None:
    one, two = workers = workers_of(table, clock)
    assert one.hear(one.decide(A), SLOW, model="a-2026-11-24")
    assert two.hear(one.decide(A), SLOW, model="a-2026-11-24")
    look_all(workers)
    assert heard(workers) == [2.0, 0.0, 0.0]


def test_a_probe_of_which_only_the_fallbacks_answer_is_told_makes_room_for_another(
    table: FleetTable, clock: Clock
) -> None:
    one, _ = workers_of(table, clock)
    for _ in range(5):
        one.hear(one.decide(A), ERROR)
    clock.now += 1.0
    one.look(0.0)
    probe = one.decide(A)
    assert one.look().open[A]
    one.hear(probe, SLOW._replace(latency_seconds=0.001), model="b")
    assert one.look().quota[A] == 1.0


def test_a_first_token_is_a_sign_of_life_and_ends_nothing(table: FleetTable, clock: Clock) -> None:
    one, two = workers = workers_of(table, clock)
    decision = one.decide(A)
    assert one.hear(decision, BEGUN)
    said = clock.now
    assert heard(workers, SIGN_AT)[A] == said
    two.hear(one.decide(B), BEGUN)
    look_all(workers)
    assert heard(workers, SIGN_AT)[B] > 0.0
    assert one.read().in_flight.tolist() == [1.0, 1.0, 0.0]
    assert heard(workers) == [0.0, 0.0, 0.0]
    one.hear(decision, SLOW)
    clock.now += 1.0
    assert not one.hear(decision, BEGUN)


def test_a_late_answer_to_a_call_that_was_given_up_is_a_sign_of_life_and_a_repeated_one_is_not(
    table: FleetTable, clock: Clock
) -> None:
    one, _ = workers_of(table, clock)
    given_up, answered = one.decide(A), one.decide(B)
    one.hear(answered, SLOW)
    before = heard([one], SIGN_AT)
    one.look(FleetConfig().max_expiry_seconds)
    for decision in (given_up, answered):
        assert not one.hear(decision, SLOW)
    assert heard([one], SIGN_AT) == [clock.now, before[B], 0.0]
    assert heard([one]) == [0.0, 1.0, 0.0]


def test_calls_that_lay_through_an_outage_are_not_learned_from(table: FleetTable, clock: Clock) -> None:
    one, two = workers = workers_of(table, clock)
    early = [one.decide(A) for _ in range(5)]
    for worker in workers:
        worker.look()
    for _ in range(5):
        two.hear(two.decide(A), ERROR)
    look_all(workers)
    for decision in early:
        one.hear(decision, SLOW)
    assert heard(workers, FIRST_N)[A] == 0.0
    clock.now += 1.0
    look_all(workers)
    one.hear(one.decide(A), SLOW)
    assert heard(workers, FIRST_N)[A] == 1.0


def test_what_it_remembers_of_fallbacks_is_bounded(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    for _ in range(MOST_DECISIONS + 50):
        decision = one.decide(A)
        one.hear(decision, ERROR)
        one.hear(decision, SLOW, model="b")
    assert len(one.live._hearing._attempts._rows) == MOST_DECISIONS


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["", *NAMES]), st.booleans()),
        max_size=12,
    )
)
def test_each_model_counts_once_for_each_decision_however_often_and_by_whom_it_is_told(
    told: list[tuple[int, str, bool]],
) -> None:
    import tempfile  # noqa: PLC0415 - a table for each example
    from pathlib import Path  # noqa: PLC0415

    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        table = FleetTable.create(Path(directory) / "fleet", 3, 16)
        workers = workers_of(table, clock, 3)
        decision = workers[0].decide(A)
        clock.now += 3.0
        for number, model, fails in told:
            workers[number].hear(decision, ERROR if fails else SLOW, model=model)
            look_all(workers)
        models = {model or "a" for _, model, _ in told}
        assert heard(workers) == [float(name in models) for name in NAMES]
        assert workers[0].read().in_flight.tolist() == [float(not told), 0.0, 0.0]
        table.close()

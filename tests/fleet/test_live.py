import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import ConfigError
from sidecar.fleet.columns import COLUMNS, EXPIRED, FAULTS, OPEN, OUTCOMES, STARTED, TOKENS_STARTED
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.view import FleetView
from tests.fleet.stage import Clock, Worker, priors_of

NAMES = ["a", "b"]


def workers_of(table: FleetTable, clock: Clock, amount: int = 2) -> list[Worker]:
    return [Worker(table, number, priors_of(NAMES, first=0.5), clock) for number in range(amount)]


def test_a_decision_counts_at_once_here_and_with_the_next_merge_elsewhere(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    one.decide(1)
    one.decide(1)
    assert one.read().in_flight.tolist() == [0.0, 2.0]
    assert two.read().in_flight.tolist() == [0.0, 0.0]
    one.look()
    assert two.look().in_flight.tolist() == [0.0, 2.0]
    two.decide(1)
    assert two.read().in_flight.tolist() == [0.0, 3.0]


def test_within_a_merge_interval_others_are_not_read_again(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    two.look()
    one.decide(0)
    one.look(0.0)
    one.live._refresh(clock.now)
    assert two.look(0.004).in_flight[0] == 0.0
    assert two.look(0.002).in_flight[0] == 1.0


def test_an_outcome_heard_by_the_worker_that_decided_ends_the_call(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    decision = one.decide(0)
    assert one.hear(decision)
    assert one.read().in_flight[0] == 0.0
    assert not one.hear(decision)
    assert one.live.writer.rows[0, [STARTED, TOKENS_STARTED, OUTCOMES, FAULTS]].tolist() == [1.0, 100.0, 1.0, 0.0]


def test_an_outcome_heard_elsewhere_ends_the_call_when_the_decider_looks(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    decision = one.decide(0)
    one.look()
    assert two.hear(decision, Outcome(Fault.SERVER))
    assert two.hear(decision)  # nobody here can know that it was heard before
    assert one.look().in_flight[0] == 0.0
    assert two.look().in_flight[0] == 0.0
    assert one.live.writer.rows[0, [OUTCOMES, FAULTS]].tolist() == [1.0, 1.0]


def test_an_outcome_of_a_call_that_has_expired_does_nothing(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    decision = one.decide(0)
    one.look(FleetConfig().max_expiry_seconds)
    assert one.read().in_flight[0] == 0.0
    assert not one.hear(decision)
    assert one.live.writer.rows[0, [OUTCOMES, EXPIRED]].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("decision", ["", "no id", "f" * 32, "0" * 32])
def test_an_outcome_of_an_unknown_decision_does_not_count(table: FleetTable, clock: Clock, decision: str) -> None:
    one, _ = workers_of(table, clock)
    assert not one.hear(decision, model="unheard of")
    assert not one.live.writer.rows.any()


def test_an_outcome_of_another_sidecars_decision_tells_of_the_model_if_it_is_named(
    table: FleetTable, clock: Clock
) -> None:
    one, _ = workers_of(table, clock)
    slow = Outcome(first_token_seconds=3.0, latency_seconds=4.0, output_tokens=10.0)
    assert one.hear("f" * 32, slow, model="b")
    assert one.look(0.06).first_token_seconds[1] > 0.5
    for _ in range(5):
        assert one.hear("f" * 32, Outcome(Fault.SERVER, latency_seconds=0.1), model="b")
    assert one.look().open.tolist() == [False, True]


def test_the_calls_of_a_worker_that_died_no_longer_count(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    decision = one.decide(0)
    one.look()
    assert two.look().in_flight[0] == 1.0
    after = FleetConfig().dead_after_seconds
    assert two.look(after - 1.0).in_flight[0] == 1.0
    assert two.look(1.1).in_flight[0] == 0.0
    assert not two.hear(decision)


def test_a_worker_without_traffic_lives_on_by_its_beat(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    one.decide(0)
    one.look()
    for _ in range(10):
        clock.now += 1.0
        one.live.writer.beat()
    assert two.look().in_flight[0] == 1.0


def test_a_successor_starts_without_the_calls_but_with_what_was_learned(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    late = one.decide(0)
    for _ in range(50):
        one.hear(one.decide(1), Outcome(first_token_seconds=4.0, latency_seconds=5.0, output_tokens=9.0))
    one.look()
    one.live.close()
    successor = Worker(table, 0, priors_of(["new", "b", "a"], first=0.5), clock)
    fleet = successor.look()
    assert fleet.in_flight.tolist() == [0.0, 0.0, 0.0]
    assert fleet.first_token_seconds[1] == pytest.approx(4.0, abs=0.4)
    assert not two.hear(late)
    assert successor.live.writer.rows[1, OUTCOMES] == 50.0


def test_what_was_heard_reaches_all_others_estimates(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    for _ in range(100):
        one.hear(one.decide(0), Outcome(first_token_seconds=2.5, latency_seconds=5.0, output_tokens=11.0))
    one.look()
    fleet = two.look(0.06)
    assert fleet.first_token_seconds[0] == pytest.approx(2.5, abs=0.15)
    assert fleet.seconds_per_token[0] == pytest.approx(0.25)
    assert fleet.first_token_seconds[1] == pytest.approx(0.5)


def test_telemetry_from_any_thread_is_published_with_the_next_merge(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    thread = threading.Thread(target=one.live.report, args=("b", Telemetry(running=9.0, waiting=1.0)))
    thread.start()
    thread.join()
    one.look()
    assert two.look(0.06).in_flight.tolist() == pytest.approx([0.0, 10.0], rel=0.02)


def test_telemetry_of_a_name_that_does_not_fit_is_refused_where_it_came(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    with pytest.raises(ConfigError, match="model name"):
        one.live.report("", Telemetry(running=1.0))
    for number in range(40):  # more than there are rows: each was checked when there was still room
        one.live._reports.append((f"model-{number}", Telemetry(running=1.0)))
    one.look()
    assert len(one.live.writer.names()) == 32
    with pytest.raises(ConfigError, match="1 more do not fit"):
        one.live.report("another", Telemetry(running=1.0))


def test_two_bundles_in_one_worker_share_what_is_known_of_a_model(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    canary = type(one.view)(one.live, priors_of(["c", "b"]))
    canary.read(clock.now)
    one.decide(1)
    assert canary.read(clock.now).in_flight.tolist() == [0.0, 1.0]
    assert one.read().in_flight.tolist() == [0.0, 1.0]
    canary.decided(one.taken, 1, 1.0, 1.0, 0.0, clock.now)
    assert one.read().in_flight.tolist() == [0.0, 2.0]


events = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 2), st.integers(0, 1)),
        st.tuples(st.just("hear"), st.integers(0, 2), st.integers(0, 60)),
        st.tuples(st.just("look"), st.integers(0, 2), st.integers(0, 3)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(events)
def test_whoever_hears_what_in_which_order_each_call_ends_once(events: list[tuple[str, int, int]]) -> None:
    import tempfile  # noqa: PLC0415 - a table for each example
    from pathlib import Path  # noqa: PLC0415

    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        table = FleetTable.create(Path(directory) / "fleet", 3, 16)
        workers = workers_of(table, clock, 3)
        decisions: list[tuple[str, int]] = []
        heard: set[str] = set()
        for kind, number, value in events:
            if kind == "decide":
                decisions.append((workers[number].decide(value), value))
            elif kind == "hear" and decisions:
                decision = decisions[value % len(decisions)][0]
                workers[number].hear(decision)
                heard.add(decision)
            else:
                workers[number].look(value * 0.004)
        for worker in (*workers, *workers):
            worker.look(0.006)
        open_calls = [candidate for decision, candidate in decisions if decision not in heard]
        for worker in workers:
            assert worker.read().in_flight.tolist() == [open_calls.count(0), open_calls.count(1)]
        assert sum(worker.live.writer.rows[:, OUTCOMES].sum() for worker in workers) == len(heard)
        assert all(worker.live.writer.rows.shape[1] == COLUMNS for worker in workers)
        table.close()


def test_candidates_that_do_not_fit_are_refused_before_anything_is_served(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    with pytest.raises(ConfigError, match="31 more do not fit"):
        FleetView(one.live, priors_of([*NAMES, *(f"model-{number}" for number in range(31))]))
    with pytest.raises(ConfigError, match="model name"):
        FleetView(one.live, priors_of(["x" * 201]))
    FleetView(one.live, priors_of([*NAMES, *(f"model-{number}" for number in range(30))])).read(clock.now)


def test_a_candidate_that_hangs_is_found_out_when_its_calls_are_overdue(table: FleetTable, clock: Clock) -> None:
    one, two = workers_of(table, clock)
    for _ in range(10):
        one.hear(one.decide(0))
        two.hear(two.decide(1))
    clock.now += 0.1
    for _ in range(5):
        one.decide(0)
    for _ in range(20):
        one.look(1.0)
        two.look(0.0)
        two.hear(two.decide(1))
    assert one.live.writer.rows[0, EXPIRED] == 5.0
    fleet = two.look(0.006)
    assert one.live._breaker._changes[0].kind == OPEN
    assert not fleet.plain
    assert not fleet.open[1]


def test_lost_outcomes_of_a_candidate_that_works_do_not_open_it(table: FleetTable, clock: Clock) -> None:
    one, _ = workers_of(table, clock)
    for _ in range(60):
        for _ in range(4):
            one.decide(0)
        one.hear(one.decide(0))
        assert one.look(0.5).plain
    assert one.live.writer.rows[0, EXPIRED] > 50.0


@pytest.mark.parametrize("apart_s", [0.2, 3.0, 60.0])
def test_where_nobody_reports_outcomes_no_candidate_is_left_alone(
    table: FleetTable, clock: Clock, apart_s: float
) -> None:
    (one,) = workers_of(table, clock, 1)
    for number in range(150):
        one.decide(number % 2)
        fleet = one.look(apart_s)
        assert not fleet.open.any()
    assert one.look(1000.0).open.tolist() == [False, False]

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.admission import Admission
from sidecar.fleet.columns import COLUMNS, IN_FLIGHT
from sidecar.fleet.estimate import estimate
from sidecar.fleet.outcome import Outcome
from sidecar.fleet.publisher import Publisher
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.view import FleetView, compose
from sidecar.fleet.writer import Writer
from tests.fleet.chooser import assign
from tests.fleet.stage import NAN, Clock, Worker, priors_of

NAMES = ["a", "b", "c", "d"]


def test_a_call_waits_for_as_many_ends_as_there_are_calls_too_many(table: FleetTable, clock: Clock) -> None:
    worker = Worker(table, 0, priors_of(NAMES, first=2.0, per_token=0.0, slots=4.0), clock)
    waits = []
    for _ in range(7):
        waits.append(float(worker.read().wait_seconds[2]))
        worker.decide(2)
    assert waits == [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.5]
    fleet = worker.read()
    assert fleet.backlog[2] == 4.0
    assert fleet.step_seconds[2] == 0.5
    assert fleet.in_flight.tolist() == [0.0, 0.0, 7.0, 0.0]


def test_without_slots_there_is_no_wait_only_times(table: FleetTable, clock: Clock) -> None:
    worker = Worker(table, 0, priors_of(NAMES, first=2.0), clock)
    for _ in range(100):
        worker.decide(0)
    fleet = worker.look()
    assert fleet.wait_seconds.tolist() == [0.0] * 4
    assert fleet.step_seconds.tolist() == [0.0] * 4
    assert fleet.backlog[0] == -np.inf
    assert fleet.first_token_seconds[0] == 2.0


@given(st.lists(st.tuples(st.floats(-50, 50), st.one_of(st.just(NAN), st.floats(0.5, 64.0))), min_size=1, max_size=5))
def test_whatever_is_counted_nothing_is_below_0_and_nothing_is_not_a_number(rows: list[tuple[float, float]]) -> None:
    counted, slots = np.array([row[0] for row in rows]), [row[1] for row in rows]
    priors = priors_of([str(at) for at in range(len(rows))], first=0.5, slots=slots)
    estimates = estimate(np.zeros((1, len(rows), COLUMNS)), priors, FleetConfig(), 1000.0)
    fleet = compose(estimates, counted, estimates.zeros, Admission.of_all(len(rows)))
    for column in fleet:
        assert not np.isnan(column).any()
    assert (fleet.wait_seconds >= 0.0).all()
    assert (fleet.in_flight >= 0.0).all()
    assert np.isfinite(fleet.wait_seconds).all()


def test_what_did_not_change_is_not_made_again(table: FleetTable, clock: Clock) -> None:
    worker = Worker(table, 0, priors_of(NAMES), clock)
    fleet = worker.read()
    assert worker.read() is fleet
    worker.decide(0)
    assert worker.read() is not fleet


def test_decisions_since_an_observation_are_added_and_none_counts_twice(table: FleetTable, clock: Clock) -> None:
    one, two = (Worker(table, number, priors_of(NAMES, slots=10.0, first=1.0), clock) for number in range(2))
    publisher = Publisher(Writer(table, 5, clock), FleetConfig(), clock, clock.unix)
    early = [one.decide(0) for _ in range(3)]
    one.look()
    # 3 of ours are there and 4 of others.
    publisher.publish("a", Telemetry(running=7.0, waiting=0.0))
    assert two.look(0.06).in_flight[0] == pytest.approx(7.0, abs=0.05)
    one.look(0.06)
    for _ in range(2):
        two.decide(0)
    two.look(0.006)
    assert one.look(0.006).in_flight[0] == pytest.approx(9.0, abs=0.1)
    for decision in early:
        one.hear(decision)
    assert one.look(0.0).in_flight[0] == pytest.approx(6.0, abs=0.1)
    clock.now += 0.1
    one.look()
    publisher.publish("a", Telemetry(running=6.0, waiting=0.0))
    assert two.look().in_flight[0] == pytest.approx(6.0, abs=0.05)


def test_old_telemetry_leaves_what_is_our_own(table: FleetTable, clock: Clock) -> None:
    settings = FleetConfig(min_expiry_seconds=100.0)
    worker = Worker(table, 0, priors_of(NAMES, slots=10.0, first=1.0), clock, settings)
    publisher = Publisher(Writer(table, 5, clock), settings, clock, clock.unix)
    publisher.publish("a", Telemetry(running=40.0))
    worker.decide(0)
    seen = [float(worker.look(5.0).in_flight[0]) for _ in range(8)]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == pytest.approx(21.0, abs=0.1)
    assert seen[-1] == 1.0


SLOTS = np.array([8.0, 16.0, 32.0, 64.0])
SERVICE = np.array([1.0, 2.0, 1.0, 4.0])
FOREIGN = np.array([40.0, 10.0, 20.0, 90.0])


def ideal(present: np.ndarray[tuple[int], np.dtype[np.float64]], amount: int) -> list[int]:
    """The split after which all wait alike: one after the other to where the wait is least, all known."""
    present = present.copy()
    split = [0] * len(present)
    for _ in range(amount):
        waits = np.maximum(present - SLOTS + 1.0, 0.0) * SERVICE / SLOTS + 1e-9 * present
        best = int(waits.argmin())
        present[best] += 1.0
        split[best] += 1
    return split


@pytest.mark.parametrize("amount", [1, 4])
def test_no_herd_forms_on_telemetry_of_200_ms_ago(table: FleetTable, clock: Clock, amount: int) -> None:
    """1,000 requests at once over several workers, after 300 more that telemetry knows nothing of."""
    priors = priors_of(NAMES, per_token=0.0, slots=SLOTS.tolist())._replace(first_token_seconds=SERVICE)
    flat = FleetConfig(expiry_factor=1000.0)
    workers = [Worker(table, number, priors, clock, flat) for number in range(amount)]
    publisher = Publisher(Writer(table, 5, clock), flat, clock, clock.unix)
    for name, calls in zip(NAMES, FOREIGN, strict=True):
        publisher.publish(name, Telemetry(running=calls, waiting=0.0))
    before = np.zeros(4)
    for turn in range(300):
        worker, candidate = workers[turn % amount], (0, 0, 1, 3)[turn % 4]
        worker.decide(candidate, seconds=60.0)
        before[candidate] += 1.0
    clock.now += 0.2
    for worker in workers:
        worker.look()
    best = ideal(FOREIGN + before, 1000)
    split: Counter[int] = Counter()
    left = 1000
    while left:
        clock.now += 0.006  # what a worker needs for a batch at full load
        reads = [worker.read() for worker in workers]
        for worker, fleet in zip(workers, reads, strict=True):
            # All four read before any of them decides: the worst case.
            batch = assign(fleet._replace(first_token_seconds=np.zeros(4)), min(32, left))
            left -= len(batch)
            for candidate in batch:
                worker.decide(candidate, seconds=60.0)
                split[candidate] += 1
    for candidate in range(4):
        assert abs(split[candidate] - best[candidate]) <= 0.1 * best[candidate] + 1, (split, best)


def test_until_the_next_merge_others_are_presumed_to_do_as_this_worker_does(table: FleetTable, clock: Clock) -> None:
    one, two = (Worker(table, number, priors_of(NAMES, first=1.0, slots=4.0), clock) for number in range(2))
    for _ in range(40):
        for worker in (one, two):
            worker.decide(1)
            worker.look(0.003)
    fleet = one.look()
    two.look(0.0)
    assert fleet.crowd == pytest.approx(2.0, abs=0.15)
    before = float(fleet.backlog[0])
    for _ in range(3):
        one.decide(0)
    fleet = one.read()
    assert fleet.in_flight[0] == 3.0
    assert fleet.backlog[0] == pytest.approx(before + 3 * fleet.crowd)
    assert one.look().backlog[0] == before + 3  # the other one did not


def test_the_learned_times_and_the_queue_add_up_to_what_was_measured(table: FleetTable, clock: Clock) -> None:
    """A server with one slot and a queue: its times to the first token have the wait in them, which must not count twice."""
    worker = Worker(table, 0, priors_of(["a"], first=1.0, per_token=0.0, slots=1.0), clock)
    queue: list[tuple[str, float]] = []
    for turn in range(400):
        for _ in range(5 if turn == 0 else 1):  # from then on as many come as are answered, and 5 are always there
            fleet = worker.look(0.001)
            queue.append((worker.decide(0, wait=float(fleet.wait_seconds[0]), seconds=50.0), clock.now))
        clock.now += 0.499
        decision, decided = queue.pop(0)
        took = clock.now - decided
        worker.hear(decision, Outcome(first_token_seconds=took, latency_seconds=took, output_tokens=1.0))
    fleet = worker.look()
    assert took == pytest.approx(2.5, abs=0.01)
    assert fleet.in_flight[0] == 4.0
    assert fleet.wait_seconds[0] + fleet.first_token_seconds[0] == pytest.approx(2.5, rel=0.1)


def test_a_view_may_have_its_candidates_in_any_order(table: FleetTable, clock: Clock) -> None:
    worker = Worker(table, 0, priors_of(NAMES), clock)
    other = FleetView(worker.live, priors_of(["c", "a"]))
    worker.decide(2)
    assert other.read(clock.now).in_flight.tolist() == [1.0, 0.0]
    assert other.columns().shape[1] == 2
    worker.look()
    assert worker.view.columns()[-1, :, IN_FLIGHT].tolist() == [0.0, 0.0, 1.0, 0.0]

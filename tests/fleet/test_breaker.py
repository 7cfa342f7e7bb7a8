"""The breaker over several workers on one table; time passes only when the test says so."""

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.fleet.columns import CLOSED, OPEN
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.settings import BreakerConfig, FleetConfig
from sidecar.fleet.table import FleetTable
from tests.fleet.stage import Clock, Worker, priors_of

BREAKER = BreakerConfig(
    consecutive_errors=4,
    error_rate=0.5,
    min_volume=10.0,
    first_backoff_seconds=1.0,
    max_backoff_seconds=4.0,
    jitter=0.0,
    slow_start_seconds=5.0,
    slow_start_from=0.2,
)
SETTINGS = FleetConfig(breaker=BREAKER)
ERROR = Outcome(Fault.SERVER)
FINE = Outcome(latency_seconds=0.1)


def workers_of(table: FleetTable, clock: Clock, amount: int = 3, breaker: BreakerConfig = BREAKER) -> list[Worker]:
    settings = FleetConfig(breaker=breaker)
    workers = [Worker(table, number, priors_of(["a", "b"]), clock, settings) for number in range(amount)]
    for worker in workers:
        worker.look()
    return workers


def call(worker: Worker, outcome: Outcome, candidate: int = 0, seconds: float = 0.01) -> None:
    decision = worker.decide(candidate)
    worker.clock.now += seconds
    assert worker.hear(decision, outcome)


def break_it(worker: Worker, candidate: int = 0) -> None:
    for _ in range(4):
        call(worker, ERROR, candidate)


def test_errors_in_a_row_open_it_and_the_others_know_within_a_tenth_of_a_second(
    table: FleetTable, clock: Clock
) -> None:
    one, two, _ = workers_of(table, clock)
    for _ in range(3):
        call(one, ERROR)
    assert not one.read().open[0]
    call(one, Outcome(Fault.TIMEOUT))
    fleet = one.read()
    assert fleet.open.tolist() == [True, False]
    assert fleet.recovery_seconds[0] == pytest.approx(1.0, abs=0.05)
    assert not fleet.plain
    fleet = two.look(0.05)
    assert fleet.open.tolist() == [True, False]


def test_errors_in_a_row_count_over_all_workers_together(table: FleetTable, clock: Clock) -> None:
    one, two, three = workers_of(table, clock)
    for worker in (one, two, three):
        call(worker, ERROR)
        for other in (worker, one, two, three):
            other.look()
    assert not three.read().open[0]
    call(one, ERROR)
    assert one.read().open[0]


def test_a_success_in_between_at_any_worker_begins_the_count_anew(table: FleetTable, clock: Clock) -> None:
    one, two, _ = workers_of(table, clock)
    for _ in range(3):
        call(one, ERROR)
    one.look()
    call(two, FINE)
    two.look()
    one.look()
    for _ in range(3):
        call(two, ERROR)
    assert not two.look().open[0]
    call(two, ERROR)
    assert two.look().open[0]


def test_a_share_of_errors_opens_it_if_there_were_enough_calls(table: FleetTable, clock: Clock) -> None:
    one, two, _ = workers_of(table, clock)
    for _ in range(4):
        call(one, FINE, seconds=0.0)
        call(one, ERROR, seconds=0.0)
    assert not one.look().open[0]
    for worker in (two, one) * 2:
        call(worker, FINE, seconds=0.0)
        call(worker, ERROR, seconds=0.0)
        for other in (one, two):
            other.look(0.006)
    assert one.look().open[0]


def test_few_errors_among_many_calls_do_not(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    for turn in range(200):
        call(one, ERROR if turn % 5 == 0 else FINE)
        assert not one.look(0.001).open[0]


@pytest.mark.parametrize("outcome", [Outcome(Fault.CLIENT), FINE])
def test_errors_of_the_client_and_successes_never_open_it(table: FleetTable, clock: Clock, outcome: Outcome) -> None:
    one, _, _ = workers_of(table, clock)
    for _ in range(50):
        call(one, outcome)
    assert one.look().plain


def test_a_rate_limit_with_a_time_is_a_cool_down_for_that_long_and_no_error(table: FleetTable, clock: Clock) -> None:
    one, two, _ = workers_of(table, clock)
    call(one, Outcome(Fault.RATE_LIMIT, retry_after_seconds=30.0))
    began = clock.now
    one.look()
    fleet = two.look()
    assert fleet.open.tolist() == [True, False]
    assert fleet.recovery_seconds[0] == pytest.approx(began + 30.0 - clock.now)
    clock.now = began + 29.9
    assert two.look(0.0).open[0]
    clock.now = began + 30.01
    fleet = two.look(0.0)
    assert not fleet.open[0]
    assert fleet.share[0] == pytest.approx(0.2, abs=0.01)
    assert fleet.quota[0] == math.inf


def test_of_two_cool_downs_the_longer_one_holds_and_a_long_one_is_cut(table: FleetTable, clock: Clock) -> None:
    one, two, _ = workers_of(table, clock, breaker=BreakerConfig(max_cool_down_seconds=50.0))
    call(one, Outcome(Fault.RATE_LIMIT, retry_after_seconds=1e9), seconds=0.0)
    call(two, Outcome(Fault.RATE_LIMIT, retry_after_seconds=5.0), seconds=0.0)
    one.look()
    assert two.look(0.0).recovery_seconds[0] == pytest.approx(50.0, abs=0.1)


def test_a_rate_limit_that_names_no_time_counts_as_an_error(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    for _ in range(4):
        call(one, Outcome(Fault.RATE_LIMIT))
    assert one.read().open[0]


def test_an_error_that_names_a_time_stays_open_for_so_long(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    for _ in range(4):
        call(one, Outcome(Fault.SERVER, retry_after_seconds=20.0))
    assert one.read().recovery_seconds[0] == pytest.approx(20.0, abs=0.1)


def test_half_open_one_worker_alone_may_try_and_its_success_closes_it(table: FleetTable, clock: Clock) -> None:
    one, two, three = workers_of(table, clock)
    break_it(one)
    one.look()
    clock.now += 1.1
    fleets = [worker.look(0.0) for worker in (one, two, three)]
    assert [fleet.quota[0] for fleet in fleets] == [1.0, 1.0, 1.0]
    probe = two.decide(0)
    for worker in (two, one, three):
        fleet = worker.look(0.006)
        assert fleet.open[0]
        assert fleet.recovery_seconds[0] > 0.0
    assert two.hear(probe, FINE)
    for worker in (two, one, three):
        fleet = worker.look(0.006)
        assert not fleet.open[0]
        assert 0.2 <= fleet.share[0] < 0.25
        assert fleet.quota[0] == math.inf


def test_workers_take_turns_to_probe_so_that_no_two_do_it_at_once(table: FleetTable, clock: Clock) -> None:
    one, two, three = workers_of(table, clock)
    break_it(three)
    three.look()
    two.look(0.0)
    until = clock.now + float(two.read().recovery_seconds[0])
    clock.now = until + 0.001
    free = [worker.look(0.0).quota[0] for worker in (one, two, three) if not worker.read().open[0]]
    assert free == [1.0]
    clock.now = until + 0.016
    assert [bool(worker.look(0.0).open[0]) for worker in (one, two, three)] == [False, False, True]


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_the_most(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    break_it(one)
    for backoff in (1.0, 2.0, 4.0, 4.0):
        fleet = one.look(0.0)
        assert fleet.recovery_seconds[0] == pytest.approx(backoff, abs=0.05)
        clock.now += backoff + 0.1
        assert not one.look(0.0).open[0]
        call(one, ERROR, seconds=0.0)


def test_a_probe_of_which_nothing_is_heard_does_not_block_it_for_ever(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    break_it(one)
    clock.now += 1.1
    one.look(0.0)
    one.decide(0)
    assert one.look().open[0]
    # It has failed then, and the next one may try after twice the time.
    assert one.look(SETTINGS.min_expiry_seconds + 1.0).recovery_seconds[0] == pytest.approx(2.0)
    assert one.look(2.1).quota[0] == 1.0


def test_of_two_changes_at_the_same_moment_the_second_one_is_later(table: FleetTable, clock: Clock) -> None:
    one, two, _ = workers_of(table, clock)
    break_it(one)
    opened = one.live._breaker._changes[0]
    one.live._breaker._change(0, opened._replace(kind=CLOSED))
    one.live.publish(clock.now)
    one.look()
    assert one.live._breaker._changes[0].at > opened.at
    assert not two.look().open[0]


def test_a_probe_that_the_client_broke_off_makes_room_for_another(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    break_it(one)
    clock.now += 1.1
    one.look(0.0)
    probe = one.decide(0)
    assert one.look().open[0]
    one.hear(probe, Outcome(Fault.CLIENT))
    assert one.look().quota[0] == 1.0


def test_the_probes_of_a_worker_that_died_do_not_count(table: FleetTable, clock: Clock) -> None:
    one, two, _ = workers_of(table, clock)
    break_it(one)
    one.look()
    clock.now += 1.1
    one.look(0.0)
    one.decide(0)
    one.look(0.006)
    assert two.look(0.1).open[0]
    assert two.look(SETTINGS.dead_after_seconds + 0.1).quota[0] == 1.0


def test_outcomes_of_calls_from_before_the_change_do_not_count_after_it(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    early = [one.decide(0) for _ in range(20)]
    break_it(one)
    one.hear(early.pop(), FINE)
    assert one.look().open[0]
    clock.now += 1.1
    one.look(0.0)
    call(one, FINE)
    assert not one.look().open[0]
    for decision in early:
        one.hear(decision, ERROR)
    assert not one.look().open[0]


def test_a_success_of_a_last_resort_lets_it_be_tried_at_once(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    for _ in range(4):
        call(one, Outcome(Fault.SERVER, retry_after_seconds=100.0))
    assert one.look(0.2).open[0]
    call(one, FINE)
    assert not one.look(0.05).open[0]
    assert one.read().quota[0] == 1.0


def test_traffic_grows_back_in_a_straight_line(table: FleetTable, clock: Clock) -> None:
    one, two, _ = workers_of(table, clock)
    break_it(one)
    clock.now += 1.1
    one.look(0.0)
    call(one, FINE, seconds=0.0)
    closed = clock.now
    one.look(0.0)
    for passed in (0.0, 1.25, 2.5, 3.75):
        clock.now = closed + passed + 0.006
        assert two.look(0.0).share[0] == pytest.approx(0.2 + 0.8 * passed / 5.0, abs=0.01)
    assert two.look(1.3).plain


def test_after_a_while_without_trouble_the_backoff_begins_anew(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)

    def recover() -> float:
        backoff = float(one.look(0.0).recovery_seconds[0])
        clock.now += backoff + 0.1
        one.look(0.0)
        call(one, FINE)
        one.look()
        return backoff

    break_it(one)
    assert recover() == pytest.approx(1.0, abs=0.01)
    break_it(one)
    assert recover() == pytest.approx(2.0, abs=0.01)
    clock.now += BREAKER.forget_seconds
    one.look()
    break_it(one)
    assert recover() == pytest.approx(1.0, abs=0.01)


def test_a_new_worker_knows_at_once_what_is_open(table: FleetTable, clock: Clock) -> None:
    one, _, _ = workers_of(table, clock)
    break_it(one)
    one.look()
    late = Worker(table, 5, priors_of(["b", "a"]), clock, SETTINGS)
    assert late.read().open.tolist() == [False, True]


class Machine(RuleBasedStateMachine):
    """Three workers, one candidate that is well or ill, and any order of calls, answers, losses and time."""

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.table = FleetTable.create(Path(self.directory.name) / "fleet", 3, 16)
        self.clock = Clock()
        self.well = True
        settings = FleetConfig(breaker=BREAKER)
        self.workers = [Worker(self.table, n, priors_of(["a"]), self.clock, settings) for n in range(3)]
        self.out: list[tuple[str, bool]] = []
        self.probes: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.table.close()
            self.directory.cleanup()

    def look_all(self, seconds: float = 0.006) -> None:
        self.clock.now += seconds
        for worker in self.workers:
            worker.read()

    @rule(number=st.integers(0, 2), amount=st.integers(1, 6))
    def decide(self, number: int, amount: int) -> None:
        worker = self.workers[number]
        for _ in range(amount):
            self.look_all()
            fleet = worker.read()
            if not fleet.open[0]:
                decision = worker.decide(0)
                self.out.append((decision, self.well))
                if fleet.quota[0] < math.inf:
                    self.probes.add(decision)

    @rule(data=st.data(), other=st.integers(0, 2))
    @precondition(lambda self: self.out)
    def answer(self, data: st.DataObject, other: int) -> None:
        decision, well = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.workers[other].hear(decision, FINE if well else ERROR)
        self.probes.discard(decision)
        self.look_all()
        self.look_all()

    @rule(seconds=st.floats(0.0, 2.0))
    def wait(self, seconds: float) -> None:
        self.look_all(seconds)

    @rule()
    def change(self) -> None:
        self.well = not self.well

    @invariant()
    def what_may_be_chosen_is_always_well_defined(self) -> None:
        for worker in self.workers:
            fleet = worker.read()
            assert 0.0 < fleet.share[0] <= 1.0
            assert fleet.quota[0] > 0.0
            assert (fleet.recovery_seconds[0] > 0.0) == bool(fleet.open[0])
            assert fleet.recovery_seconds[0] <= BREAKER.max_backoff_seconds + 1e-6
            assert fleet.plain == (not fleet.open[0] and fleet.share[0] == 1.0 and fleet.quota[0] == math.inf)

    @invariant()
    def never_more_probes_are_out_than_allowed(self) -> None:
        change = self.workers[0].live._breaker._changes.get(0)
        if change is not None and change.kind == OPEN and self.clock.now >= change.until:
            live = [d for d in self.probes if self.decided_at(d) >= change.until]
            assert len(live) <= BREAKER.probes

    def decided_at(self, decision: str) -> float:
        process, number = int(decision[12:22], 16), int(decision[22:], 16)
        worker = next(worker for worker in self.workers if worker.live.process == process)
        call = worker.live.reckoning.recall(number)
        return call.decided if call is not None and call.in_flight else -1.0

    @rule()
    def a_well_candidate_comes_back_within_ten_seconds(self) -> None:
        """Whatever happened before, once it is well and calls are answered, all of the traffic is back in time."""
        self.well = True
        for decision, well in self.out:
            self.workers[0].hear(decision, FINE if well else ERROR)
        self.out.clear()
        self.probes.clear()
        end = self.clock.now + 10.0
        while self.clock.now < end:
            self.look_all(0.3)
            for worker in self.workers:
                self.clock.now += 0.006
                if not worker.read().open[0]:
                    worker.hear(worker.decide(0), FINE)
        self.look_all()
        assert all(worker.look(0.006).plain for worker in self.workers)


Machine.TestCase.settings = hypothesis_settings(max_examples=15, stateful_step_count=25, deadline=None)
TestMachine = Machine.TestCase

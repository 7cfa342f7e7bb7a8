import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.fleet.budget import DAY_S, Budgets, BudgetView
from sidecar.fleet.settings import BudgetConfig
from sidecar.fleet.table import FleetTable
from tests.fleet.stage import Clock, Worker, priors_of

NAMES = ["small", "large"]


class Spender(Worker):
    """A worker with budgets."""

    def __init__(self, table: FleetTable, number: int, clock: Clock, *configs: BudgetConfig) -> None:
        super().__init__(table, number, priors_of(NAMES), clock)
        self.budgets = Budgets(self.live, configs, clock.unix, clock.now)
        self.limits = BudgetView(self.budgets, NAMES)

    def spend(self, candidate: int = 1, segment: str = "", tokens: float = 100.0, usd: float = 0.0) -> None:
        self.limits.decided(segment, candidate, tokens, usd)

    def closed(self, segment: str = "", seconds: float = 0.006) -> list[bool]:
        self.look(seconds)
        found = self.limits.closed(segment, self.clock.now)
        return [False, False] if found is None else found.exhausted.tolist()

    def wait_s(self, candidate: int = 1, segment: str = "") -> float:
        found = self.limits.closed(segment, self.clock.now)
        return 0.0 if found is None else float(found.recovery_seconds[candidate])


SIXTY = BudgetConfig(name="sixty", candidates=("large",), requests_per_minute=60.0, burst_seconds=5.0)


def test_requests_pass_until_what_was_saved_up_is_used_up_and_then_at_the_rate(table: FleetTable, clock: Clock) -> None:
    worker = Spender(table, 0, clock, SIXTY)
    for _ in range(5):
        assert worker.closed() == [False, False]
        worker.spend()
    assert worker.closed() == [False, True]
    assert worker.wait_s() == pytest.approx(1.0, abs=0.05)
    assert worker.closed(seconds=0.9) == [False, True]
    assert worker.closed(seconds=0.1) == [False, False]
    worker.spend()
    assert worker.closed() == [False, True]


def test_only_the_candidates_and_segments_that_a_budget_names_count(table: FleetTable, clock: Clock) -> None:
    config = BudgetConfig(
        name="team", candidates=("large",), segments=("blue",), requests_per_minute=60.0, burst_seconds=1.0
    )
    worker = Spender(table, 0, clock, config)
    worker.spend(1, "red")
    worker.spend(0, "blue")
    assert worker.closed("blue") == [False, False]
    worker.spend(1, "blue")
    assert worker.closed("blue") == [False, True]
    assert worker.closed("red") == [False, False]
    found = worker.limits.closed("blue", clock.now)
    assert found is not None
    assert found.names == ("team",)


def test_a_budget_that_names_nobody_covers_all(table: FleetTable, clock: Clock) -> None:
    worker = Spender(table, 0, clock, BudgetConfig(name="all", requests_per_minute=60.0, burst_seconds=2.0))
    worker.spend(0, "red")
    worker.spend(1, "blue")
    assert worker.closed("green") == [True, True]


def test_all_workers_draw_on_one_budget(table: FleetTable, clock: Clock) -> None:
    one, two = (Spender(table, number, clock, SIXTY) for number in range(2))
    for worker in (one, two, one, two, one):
        assert worker.closed(seconds=0.0) == [False, False]
        worker.spend()
    one.look()
    assert two.closed() == [False, True]
    assert one.closed() == [False, True]


def test_tokens_are_limited_as_expected_and_an_overdraft_is_paid_back(table: FleetTable, clock: Clock) -> None:
    worker = Spender(table, 0, clock, BudgetConfig(name="tokens", tokens_per_minute=6000.0, burst_seconds=10.0))
    worker.spend(tokens=900.0)
    assert not any(worker.closed())
    worker.spend(tokens=600.0)
    assert all(worker.closed())
    assert worker.wait_s() == pytest.approx(5.01, abs=0.05)
    assert all(worker.closed(seconds=4.9))
    assert not any(worker.closed(seconds=0.2))


def test_money_is_limited_by_the_day(table: FleetTable, clock: Clock) -> None:
    one, two = (Spender(table, number, clock, BudgetConfig(name="usd", usd_per_day=1.0)) for number in range(2))
    one.spend(usd=0.6)
    one.look()
    assert not any(two.closed())
    two.spend(usd=0.5)
    assert all(two.closed())
    left = DAY_S - clock.unix() % DAY_S
    assert two.wait_s() == pytest.approx(left, abs=0.1)
    assert not any(two.closed(seconds=left + 1.0))
    two.spend(usd=0.9)
    assert not any(two.closed())
    one.live.writer.beat()
    two.spend(usd=0.2)
    assert all(two.closed())


def test_a_budget_that_refuses_says_so_of_its_candidates_with_the_time_when_it_opens(
    table: FleetTable, clock: Clock
) -> None:
    rate = BudgetConfig(name="rate", requests_per_minute=60.0, burst_seconds=1.0, when_used_up="refuse")
    money = BudgetConfig(name="money", candidates=("large",), usd_per_day=1.0, when_used_up="refuse")
    lenient = BudgetConfig(name="lenient", candidates=("large",), usd_per_day=1.0)
    worker = Spender(table, 0, clock, rate, money, lenient)
    worker.spend(usd=2.0)
    worker.look(0.006)
    found = worker.limits.closed("", clock.now)
    assert found is not None
    assert found.names == ("lenient", "money", "rate")
    assert found.refused.tolist() == [True, True]
    small, large = found.refusals
    assert small is not None
    assert large is not None
    assert (small.budget, large.budget) == ("rate", "money")
    assert small.wait_seconds == pytest.approx(1.0, abs=0.05)
    midnight = (clock.unix() // DAY_S + 1.0) * DAY_S
    assert large.opens_unix == pytest.approx(midnight)
    assert large.wait_seconds == pytest.approx(midnight - clock.unix(), abs=0.05)
    worker.look(1.0)
    found = worker.limits.closed("", clock.now)
    assert found is not None
    assert (found.refused.tolist(), found.refusals[0]) == ([False, True], None)


def test_a_budget_that_does_not_refuse_refuses_nobody(table: FleetTable, clock: Clock) -> None:
    worker = Spender(table, 0, clock, BudgetConfig(name="usd", usd_per_day=1.0))
    worker.spend(usd=2.0)
    worker.look(0.006)
    found = worker.limits.closed("", clock.now)
    assert found is not None
    assert (found.exhausted.tolist(), found.refused.tolist(), found.refusals) == ([True] * 2, [False] * 2, (None, None))


def test_what_was_used_survives_the_worker_that_used_it(table: FleetTable, clock: Clock) -> None:
    config = BudgetConfig(name="usd", usd_per_day=1.0)
    one, two = (Spender(table, number, clock, config) for number in range(2))
    one.spend(usd=2.0)
    one.look()
    one.live.close()
    assert all(two.closed(seconds=60.0))
    assert all(Spender(table, 0, clock, config).closed())


def test_without_budgets_nothing_is_closed(table: FleetTable, clock: Clock) -> None:
    worker = Spender(table, 0, clock)
    worker.spend()
    assert worker.limits.closed("", clock.now) is None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.001, 2.0)), max_size=80), st.floats(60.0, 600.0))
def test_no_more_passes_than_the_rate_and_the_burst_allow(events: list[tuple[int, float]], rate: float) -> None:
    import tempfile  # noqa: PLC0415 - a table for each example
    from pathlib import Path  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        table = FleetTable.create(Path(directory) / "fleet", 3, 16)
        clock = Clock()
        config = BudgetConfig(name="x", requests_per_minute=rate, burst_seconds=4.0)
        workers = [Spender(table, number, clock, config) for number in range(3)]
        start = clock.now
        passed = 0
        for number, seconds in events:
            if not workers[number].closed(seconds=seconds)[0]:
                workers[number].spend(0)
                passed += 1
            workers[number].live.refresh(clock.now + 1.0)
            assert passed <= rate / 60.0 * (4.0 + clock.now - start) + 1.0
        table.close()

import pytest

from sidecar.fleet.allowances import Allowances
from sidecar.fleet.budget import DAY_S, Budgets, BudgetView
from sidecar.fleet.settings import BudgetConfig
from sidecar.fleet.table import FleetTable
from tests.fleet.stage import Clock, Worker, priors_of

RATE = BudgetConfig(name="rate", requests_per_minute=60.0, burst_seconds=2.0)
MONEY = BudgetConfig(name="usd", usd_per_day=1.0, segments=("s",))


def test_the_use_of_all_workers_is_seen_and_whether_it_is_used_up(table: FleetTable, clock: Clock) -> None:
    configs = (RATE, MONEY)
    workers = [Worker(table, number, priors_of(["a"]), clock) for number in range(2)]
    views = [BudgetView(Budgets(worker.live, configs, clock.unix, clock.now), ["a"]) for worker in workers]
    allowances = Allowances(FleetTable.attach(table.path), configs)
    rate, money = allowances.read(clock.now, clock.unix())
    assert (rate.recovery_seconds, money.recovery_seconds, rate.config) == (0.0, 0.0, RATE)
    for view, worker in zip(views, workers, strict=True):
        view.decided("s", 0, 100.0, 0.5)
        worker.look()
    rate, money = allowances.read(clock.now, clock.unix())
    assert (rate.requests, rate.tokens, rate.usd_today) == (2.0, 200.0, 0.0)
    assert rate.recovery_seconds == pytest.approx(1.0)
    assert (money.requests, money.usd_today) == (2.0, 1.0)
    assert money.recovery_seconds == pytest.approx(DAY_S - clock.unix() % DAY_S)
    clock.now += 1.0
    assert allowances.read(clock.now, clock.unix())[0].recovery_seconds == 0.0
    clock.now += DAY_S
    money = allowances.read(clock.now, clock.unix())[1]
    assert (money.requests, money.usd_today, money.recovery_seconds) == (2.0, 0.0, 0.0)


def test_budgets_that_nobody_has_used_are_there(table: FleetTable, clock: Clock) -> None:
    (rate,) = Allowances(table, (RATE,)).read(clock.now, clock.unix())
    assert rate == (RATE, 0.0, 0.0, 0.0, 0.0)

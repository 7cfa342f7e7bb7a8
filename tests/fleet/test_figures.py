import math

import pytest

from sidecar.fleet.budget import DAY_S, Budgets, BudgetView
from sidecar.fleet.figures import CandidateFigures, Figures
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.publisher import Publisher
from sidecar.fleet.settings import BudgetConfig, FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.writer import Writer
from tests.fleet.stage import Clock, Worker, priors_of


def figures_of(table: FleetTable, clock: Clock) -> dict[str, CandidateFigures]:
    attached = FleetTable.attach(table.path)  # as another process does it
    priors = {"a": (0.5, 0.01, 100.0, 4.0)}
    return {row.name: row for row in Figures(attached, FleetConfig(), priors).read(clock.now)}


def test_the_figures_of_all_processes_are_added_up(table: FleetTable, clock: Clock) -> None:
    one = Worker(table, 0, priors_of(["a", "b"], first=0.5), clock)
    two = Worker(table, 1, priors_of(["b", "c"], first=0.5), clock)
    one.decide(0, tokens=10.0)
    one.hear(one.decide(1), Outcome(first_token_seconds=1.0, latency_seconds=2.0, output_tokens=11.0))
    two.decide(0)
    two.hear(two.decide(0), Outcome(Fault.SERVER))
    one.look()
    two.look()
    Publisher(Writer(table, 5, clock), FleetConfig(), clock, clock.unix).publish(
        "a", Telemetry(running=3.0, waiting=2.0, kv_used=0.5)
    )
    clock.now += 0.5
    rows = figures_of(table, clock)
    assert list(rows) == ["a", "b", "c"]
    assert [rows[name].decisions for name in "abc"] == [1.0, 3.0, 0.0]
    assert [rows[name].own_in_flight for name in "abc"] == [1.0, 1.0, 0.0]
    assert [rows[name].tokens for name in "abc"] == [10.0, 300.0, 0.0]
    assert (rows["b"].outcomes, rows["b"].faults, rows["b"].expired) == (2.0, 1.0, 0.0)
    assert rows["b"].error_rate == pytest.approx(0.5, abs=0.01)
    assert (rows["a"].running, rows["a"].waiting, rows["a"].kv_used) == (3.0, 2.0, 0.5)
    assert rows["a"].telemetry_age_seconds == pytest.approx(0.5)
    assert rows["a"].in_flight == pytest.approx(5.0, abs=0.4)
    assert rows["a"].slots == 4.0
    assert rows["a"].first_token_seconds == pytest.approx(0.5)
    assert rows["b"].first_token_seconds == pytest.approx(1.0)
    assert math.isnan(rows["c"].first_token_seconds)
    assert math.isnan(rows["c"].slots)
    assert math.isnan(rows["c"].running)
    assert rows["c"].state == "closed"


def test_budgets_are_no_candidates(table: FleetTable, clock: Clock) -> None:
    worker = Worker(table, 0, priors_of(["a"]), clock)
    Budgets(worker.live, [BudgetConfig(name="x", usd_per_day=1.0)], clock.unix, clock.now)
    assert list(figures_of(table, clock)) == ["a"]


def test_the_use_of_budgets_is_added_up(table: FleetTable, clock: Clock) -> None:
    configs = (
        BudgetConfig(name="usd", usd_per_day=9.0),
        BudgetConfig(name="rate", requests_per_minute=60.0, candidates=("b",)),
    )
    for number in range(2):
        worker = Worker(table, number, priors_of(["a", "b"]), clock)
        limits = BudgetView(Budgets(worker.live, configs, clock.unix, clock.now), ["a", "b"])
        limits.decided("x", number, 100.0, 0.25)
        worker.look()
    figures = Figures(table, FleetConfig())
    assert figures.budgets(clock.unix()) == [("rate", 1.0, 100.0, 0.0), ("usd", 2.0, 200.0, 0.5)]
    assert figures.budgets(clock.unix() + DAY_S)[1].usd_today == 0.0


def test_an_empty_table_has_no_figures(table: FleetTable, clock: Clock) -> None:
    assert figures_of(table, clock) == {}
    assert Figures(table, FleetConfig()).budgets(clock.unix()) == []


def test_the_state_tells_what_keeps_a_candidate_away(table: FleetTable, clock: Clock) -> None:
    worker = Worker(table, 0, priors_of(["a", "b"]), clock)

    def state(seconds: float = 0.01) -> str:
        worker.look(seconds)
        return figures_of(table, clock)["a"].state

    assert state() == "closed"
    for _ in range(5):
        worker.hear(worker.decide(0), Outcome(Fault.SERVER))
    assert state() == "open"
    assert figures_of(table, clock)["a"].recovery_seconds > 0.0
    assert state(0.6) == "half_open"
    probe = worker.decide(0)
    assert state() == "half_open"
    worker.hear(probe)
    assert state() == "slow_start"
    assert 0.1 <= figures_of(table, clock)["a"].share < 0.2
    assert state(5.0) == "closed"
    worker.hear(worker.decide(0), Outcome(Fault.RATE_LIMIT, retry_after_seconds=9.0))
    assert state() == "cooling"
    assert figures_of(table, clock)["b"].state == "closed"


def test_a_reader_that_stays_sees_candidates_that_come_later(table: FleetTable, clock: Clock) -> None:
    figures = Figures(table, FleetConfig())
    worker = Worker(table, 0, priors_of(["a"]), clock)
    assert [row.name for row in figures.read(clock.now)] == ["a"]
    worker.live.enter(["b"], clock.now)
    assert [row.name for row in figures.read(clock.now)] == ["a", "b"]

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.config import CandidateConfig, Config
from sidecar.control.exposition import families_of
from sidecar.control.fleet import COUNTERS, FleetWatch
from sidecar.control.standing import Load
from sidecar.errors import ConfigError
from sidecar.fleet.budget import Budgets, BudgetView
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.regions import FLEET
from sidecar.fleet.settings import BudgetConfig
from sidecar.fleet.table import FleetTable
from tests.fleet.stage import Clock, Worker, priors_of

BUDGETS = (
    BudgetConfig(name="rate", requests_per_minute=30.0, burst_seconds=2.0),
    BudgetConfig(name="money", tokens_per_minute=1e6, usd_per_day=9.0),
)
CONFIG = Config(candidates=(CandidateConfig(name="small", model="acme/small-1", concurrency=4),), budgets=BUDGETS)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[FleetTable]:
    made = FleetTable.create(tmp_path / FLEET, 6, 32)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(load: Load) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families_of(load)
        for sample in family.samples
    }


def test_prometheus_gets_the_load_of_every_candidate_by_its_own_name(
    table: FleetTable, clock: Clock, tmp_path: Path
) -> None:
    worker = Worker(table, 0, priors_of(["acme/small-1", "other"]), clock)
    watch = FleetWatch(CONFIG, tmp_path, clock, clock.unix)
    worker.decide(0, tokens=10.0)
    worker.hear(worker.decide(0), Outcome(first_token_seconds=0.5, latency_seconds=1.5, output_tokens=11.0))
    worker.hear(worker.decide(1), Outcome(Fault.SERVER))
    worker.look()
    found = told(watch.look())
    expected = {
        ("router_candidate_decisions_total", ("small",)): 2.0,
        ("router_candidate_decisions_total", ("other",)): 1.0,
        ("router_candidate_outcomes_total", ("small",)): 1.0,
        ("router_candidate_faults_total", ("small",)): 0.0,
        ("router_candidate_faults_total", ("other",)): 1.0,
        ("router_candidate_expired_total", ("small",)): 0.0,
        ("router_candidate_tokens_total", ("small",)): 110.0,
        ("router_candidate_in_flight", ("small",)): 1.0,
        ("router_candidate_own_in_flight", ("small",)): 1.0,
        ("router_candidate_tokens_in_flight", ("small",)): 10.0,
        ("router_candidate_slots", ("small",)): 4.0,
        ("router_candidate_share", ("small",)): 1.0,
        ("router_candidate_recovery_seconds", ("small",)): 0.0,
        ("router_candidate_first_token_seconds", ("small",)): pytest.approx(0.5),
        ("router_candidate_seconds_per_token", ("small",)): pytest.approx(0.1),
        ("router_candidate_state", ("small", "closed")): 1.0,
        ("router_candidate_state", ("small", "open")): 0.0,
        ("router_candidate_state", ("other", "closed")): 1.0,
    }
    assert {key: found.get(key) for key in expected} == expected
    # What is unknown is left out.
    assert ("router_candidate_telemetry_age_seconds", ("small",)) not in found
    assert ("router_candidate_slots", ("other",)) not in found


def test_a_candidate_that_fails_is_seen_to_be_open(table: FleetTable, clock: Clock, tmp_path: Path) -> None:
    worker = Worker(table, 0, priors_of(["acme/small-1"]), clock)
    watch = FleetWatch(CONFIG, tmp_path, clock, clock.unix)
    for _ in range(5):
        worker.hear(worker.decide(0), Outcome(Fault.SERVER))
    worker.look()
    found = told(watch.look())
    assert found["router_candidate_state", ("small", "open")] == 1.0
    assert found["router_candidate_state", ("small", "closed")] == 0.0
    assert found["router_candidate_recovery_seconds", ("small",)] > 0.0
    assert found["router_candidate_error_rate", ("small",)] == pytest.approx(1.0)


def test_budgets_are_told_with_their_limits(table: FleetTable, clock: Clock, tmp_path: Path) -> None:
    worker = Worker(table, 0, priors_of(["acme/small-1"]), clock)
    view = BudgetView(Budgets(worker.live, BUDGETS, clock.unix, clock.now), ["small"])
    watch = FleetWatch(CONFIG, tmp_path, clock, clock.unix)
    watch.look()
    view.decided("", 0, 100.0, 0.5)
    worker.look()
    found = {name: value for name, value in told(watch.look()).items() if name[0].startswith("router_budget")}
    recovery = found.pop(("router_budget_recovery_seconds", ("rate",)))
    assert 0.0 < recovery <= 2.0
    assert found == {
        ("router_budget_requests_total", ("rate",)): 1.0,
        ("router_budget_requests_total", ("money",)): 1.0,
        ("router_budget_tokens_total", ("rate",)): 100.0,
        ("router_budget_tokens_total", ("money",)): 100.0,
        ("router_budget_usd_today", ("money",)): 0.5,
        # Labels in order of their names: budget, limit.
        ("router_budget_limit", ("rate", "requests_per_minute")): 30.0,
        ("router_budget_limit", ("money", "tokens_per_minute")): 1e6,
        ("router_budget_limit", ("money", "usd_per_day")): 9.0,
        ("router_budget_exhausted", ("rate",)): 1.0,
        ("router_budget_exhausted", ("money",)): 0.0,
        ("router_budget_recovery_seconds", ("money",)): 0.0,
    }


def test_counters_go_on_when_a_section_of_the_table_begins_anew(
    table: FleetTable, clock: Clock, tmp_path: Path
) -> None:
    worker = Worker(table, 0, priors_of(["acme/small-1"]), clock)
    watch = FleetWatch(CONFIG, tmp_path, clock, clock.unix)
    for _ in range(3):
        worker.decide(0)
    worker.look()
    seen = [watch.look()]
    worker.live.writer.rows[:] = 0.0  # as a worker that was killed while it wrote leaves it to its successor
    worker.decide(0)
    worker.look()
    seen += [watch.look(), watch.look()]
    decisions = [told(load)["router_candidate_decisions_total", ("small",)] for load in seen]
    assert decisions == [3.0, 3.0, 4.0]
    assert {
        field for field in COUNTERS if getattr(seen[2].candidates[0], field) < getattr(seen[0].candidates[0], field)
    } == set()


def test_without_a_table_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is its supervisor running"):
        FleetWatch(CONFIG, tmp_path)

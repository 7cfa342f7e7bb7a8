"""What Prometheus finds at a whole sidecar that routes, hears outcomes and loses a worker."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from sidecar.cli import main
from sidecar.wire import router_pb2 as pb
from tests.faults.sidecars import PATIENCE_S, PLAIN, Sidecar, until

Scrape = dict[tuple[str, ...], float]
# What is enough of the counters for the test to go on, and must not fall when a worker is killed.
CONFIG = """
bundle = "{bundle}"
workers = 2
metrics = "{metrics}"
[ledger]
directory = "{ledger}"
flush_ms = 5.0
[segments.shadow]
log_only = true
[[candidates]]
name = "small"
model = "acme/small-1"
[[candidates]]
name = "large"
[[budgets]]
name = "purse"
usd_per_day = 100.0
"""


@pytest.fixture
def metrics(unused_tcp_port_factory: Callable[[], int]) -> str:
    return f"127.0.0.1:{unused_tcp_port_factory()}"


@pytest.fixture
def sidecar(tiny_bundle: Path, tmp_path: Path, metrics: str) -> Iterator[Sidecar]:
    file = tmp_path / "sidecar.toml"
    file.write_text(CONFIG.format(bundle=tiny_bundle, metrics=metrics, ledger=tmp_path / "ledger"))
    running = Sidecar(file)
    yield running
    running.close()


def scraped(address: str) -> Scrape:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(sidecar: Sidecar, **fields: Any) -> pb.RouteResponse:
    with sidecar.connect() as channel:  # a new connection: any of the workers
        stub = channel.unary_unary(
            "/router.v1.RouterService/Route", pb.RouteRequest.SerializeToString, pb.RouteResponse.FromString
        )
        reply: pb.RouteResponse = stub(pb.RouteRequest(text=PLAIN, **fields), timeout=PATIENCE_S, wait_for_ready=True)
        return reply


@pytest.mark.slow
def test_prometheus_finds_the_numbers_of_a_sidecar_at_work(sidecar: Sidecar, metrics: str) -> None:
    replies = [of(sidecar) for _ in range(12)]
    shadows = [of(sidecar, segment="shadow", current_model=model) for model in ("large", "gpt-x", replies[0].model)]
    assert not any(reply.applied for reply in shadows)
    outcomes = [
        pb.Outcome(decision_id=reply.decision_id, latency_ms=900, first_token_ms=100, cost_usd=0.01)
        for reply in replies
    ]
    for _ in range(2):  # the second time they are known
        sidecar.route.ReportOutcome(pb.ReportOutcomeRequest(outcomes=outcomes), timeout=PATIENCE_S)
    with pytest.raises(grpc.RpcError, match="decision_id"):
        sidecar.route.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[pb.Outcome()]), timeout=PATIENCE_S)
    chosen = {"acme/small-1": "small"}.get(replies[0].model, replies[0].model)
    disagreements = sum(model != replies[0].model for model in ("large", "gpt-x", replies[0].model))
    expected = {
        ("router_decision_reasons_total", "LEARNED"): 15,
        ("router_decision_reasons_total", "LAST_RESORT"): 0,
        ("router_log_only_decisions_total",): 3,
        ("router_log_only_disagreements_total",): disagreements,
        ("router_session_switches_total",): 0,
        ("router_session_forced_stays_total",): 0,
        ("router_outcomes_total", "accepted"): 24,
        ("router_outcomes_total", "invalid"): 1,
        ("router_ledger_decisions_total",): 15,
        ("router_ledger_dropped_decisions_total", "queue"): 0,
        ("router_ledger_outcomes_total", "acknowledged"): 24,
        ("router_ledger_outcomes_total", "refused"): 0,
        ("router_ledger_waiting_outcomes",): 0,
        ("router_ledger_imported_rows_total", "decisions"): 15,
        ("router_ledger_imported_rows_total", "outcomes"): 12,
        ("router_ledger_repeated_outcomes_total",): 12,
        ("router_ledger_backlog_bytes",): 0,
        ("router_ledger_store_away",): 0,
        ("router_candidate_decisions_total", chosen): 12 + (replies[0].model == shadows[2].model) + (chosen == "large"),
        ("router_candidate_outcomes_total", chosen): 12,
        ("router_candidate_faults_total", chosen): 0,
        ("router_candidate_state", chosen, "closed"): 1,
        ("router_candidate_state", chosen, "open"): 0,
        ("router_candidate_share", chosen): 1,
        ("router_budget_limit", "purse", "usd_per_day"): 100,
        ("router_budget_exhausted", "purse"): 0,
    }

    def seen() -> Scrape | None:
        found = scraped(metrics)
        return found if {key: found.get(key) for key in expected} == expected else None

    try:
        before = until(seen)
    except AssertionError:
        found = scraped(metrics)
        assert {key: found.get(key) for key in expected} == expected
        raise
    assert before["router_ledger_syncs_total",] >= 2
    assert before["router_budget_requests_total", "purse"] >= 12
    assert before["router_candidate_first_token_seconds", chosen] > 0
    _look_from_a_terminal(sidecar.config, replies[0].decision_id)

    victim = sidecar.workers()[0].pid
    sidecar.workers()[0].kill()
    until(lambda: len(sidecar.serving()) == 2 and victim not in {worker.pid for worker in sidecar.serving()})
    until(lambda: scraped(metrics)["router_workers",] == 2)
    of(sidecar)
    until(lambda: scraped(metrics)["router_decision_reasons_total", "LEARNED"] == 16)
    after = scraped(metrics)
    fell = {key for key, value in before.items() if key[0].endswith("_total") and after.get(key, -1.0) < value}
    assert fell == set()


def _look_from_a_terminal(config: Path, decision_id: str) -> None:
    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(main, ["decisions", "--config", str(config), *arguments])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    assert len(run("--json")) == 15
    whole = run("show", decision_id, "--json")
    assert [outcome["latency_ms"] for outcome in whole["outcomes"]] == [900.0]
    overall = run("--disagreements", "--json")["overall"]
    assert (overall["decisions"], overall["unknown"]) == (3, 1)

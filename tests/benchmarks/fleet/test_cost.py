from typing import Any

import pytest

from benchmarks.fleet import cost
from sidecar.wire import router_pb2 as pb


def test_no_two_reported_outcomes_are_alike() -> None:
    for together in (1, 16):
        reports = [
            pb.ReportOutcomeRequest.FromString(payload) for payload in cost.reports_of(["a", "b", "c"], together)
        ]
        assert {len(report.outcomes) for report in reports} == {together}
        named = [(outcome.decision_id, outcome.key) for report in reports for outcome in report.outcomes]
        assert len(set(named)) == len(named) >= cost.PROMPTS - together
    once = {outcome.key for payload in cost.reports_of(["a"], 1) for outcome in parse(payload)}
    again = {outcome.key for payload in cost.reports_of(["a"], 16) for outcome in parse(payload)}
    assert not once & again


def test_the_verdicts_are_of_medians_over_the_rounds() -> None:
    routes = [
        *(route(cost.OFF, cpu, p99) for cpu, p99 in [(100.0, 1000.0), (102.0, 1010.0), (500.0, 9000.0)]),
        *(route(cost.ON, cpu, p99) for cpu, p99 in [(110.0, 1060.0), (108.12, 1090.0), (90.0, 1000.0)]),
        route("trickle", 1.0, 1.0),
    ]
    lines = {row["subject"]: row for row in cost._verdicts(routes, [outcome(4000.0), outcome(9000.0)]).rows}
    cpu = lines["Route's processor time, on / off"]
    assert (cpu["value"], cpu["verdict"]) == (pytest.approx(1.06), "met")
    p99 = lines["Route's p99 at half load, on - off, ms"]
    assert (p99["value"], p99["verdict"]) == (pytest.approx(0.05), "met")
    assert lines["outcomes acknowledged per second, the better way"]["value"] == 9000.0
    assert lines["outcomes acknowledged per second, the better way"]["verdict"] == "met"


def test_what_costs_too_much_is_missed() -> None:
    routes = [route(cost.OFF, 100.0, 1000.0), route(cost.ON, 120.0, 1200.0), route("trickle", 1.0, 1.0)]
    rows = cost._verdicts(routes, [outcome(4000.0)]).rows
    assert [row["verdict"] for row in rows if row["target"]] == ["MISSED", "MISSED", "MISSED"]


def test_a_sidecar_without_outcomes_is_told_so() -> None:
    routes = [route(cost.OFF, 1.0, 1.0), route(cost.ON, 1.0, 1.0), route("trickle", 1.0, 1.0)]
    section = cost._verdicts(routes, [{**outcome(None), "unimplemented": True}])
    assert "not implemented" in section.notes[0]
    assert [row["verdict"] for row in section.rows if row["subject"].startswith("outcomes")] == ["-"]


def route(subject: str, cpu: float, p99: float) -> dict[str, Any]:
    return {"subject": subject, "worker_us_per_call": cpu, "p50_us": 100.0, "p99_us": p99, "max_us": p99}


def outcome(rate: float | None) -> dict[str, Any]:
    return {"subject": "n in a call", "outcomes_per_second": rate, "p99_us": 9.0, "unimplemented": False}


def parse(payload: bytes) -> list[pb.Outcome]:
    return list(pb.ReportOutcomeRequest.FromString(payload).outcomes)

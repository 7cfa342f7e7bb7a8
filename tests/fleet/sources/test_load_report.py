from math import inf, isnan, nan
from typing import Any

import pytest

from sidecar.errors import InvalidRequest
from sidecar.fleet.sources.engines import engines
from sidecar.fleet.sources.load_report import check_report, samples_of, telemetry_of, understood
from sidecar.fleet.sources.settings import EngineConfig
from sidecar.wire.fleet_pb2 import LoadReport
from sidecar.wire.orca_load_report_pb2 import OrcaLoadReport

ORCA = engines({})["orca"]


@pytest.mark.parametrize("kind", [LoadReport, OrcaLoadReport])
def test_what_vllm_reports_is_understood(kind: Any) -> None:
    report = kind(named_metrics={"kv_cache_usage_perc": 0.4, "num_requests_waiting": 0.0}, eps=0.5)
    seen = telemetry_of(report, ORCA, 77.0)
    assert (seen.kv_used, seen.waiting, seen.errors_per_second, seen.observed_unix) == (0.4, 0.0, 0.5, 77.0)
    assert isnan(seen.running)
    assert understood(seen) == ["waiting", "kv_used", "errors_per_second"]


def test_our_report_and_that_of_orca_are_the_same_bytes() -> None:
    figures: dict[str, Any] = {
        "cpu_utilization": 0.1,
        "mem_utilization": 0.2,
        "request_cost": {"a": 1.0},
        "utilization": {"b": 0.3},
        "rps_fractional": 4.0,
        "eps": 5.0,
        "named_metrics": {"c": 6.0},
        "application_utilization": 0.7,
    }
    ours = LoadReport(**figures)
    assert OrcaLoadReport.FromString(ours.SerializeToString()) == OrcaLoadReport(**figures)
    assert {field.name: field.number for field in LoadReport.DESCRIPTOR.fields} == {
        "cpu_utilization": 1,
        "mem_utilization": 2,
        "request_cost": 4,
        "utilization": 5,
        "rps_fractional": 6,
        "eps": 7,
        "named_metrics": 8,
        "application_utilization": 9,
    }


def test_a_plain_figure_of_zero_is_one_that_was_left_out() -> None:
    assert samples_of(LoadReport(cpu_utilization=0.5)) == {"cpu_utilization": [({}, 0.5)]}


def test_keys_of_ones_own_are_understood_as_configured() -> None:
    engine = engines({"orca": EngineConfig(running="named_metrics.busy", kv_used="utilization.cache")})["orca"]
    report = LoadReport(named_metrics={"busy": 7.0}, utilization={"cache": 0.3})
    seen = telemetry_of(report, engine, 0.0)
    assert (seen.running, seen.kv_used) == (7.0, 0.3)


@pytest.mark.parametrize("value", [nan, inf, -inf, -0.1])
@pytest.mark.parametrize(
    ("figures", "field"),
    [
        (lambda value: {"eps": value}, r"report\.eps"),
        (lambda value: {"named_metrics": {"x": value}}, r"report\.named_metrics\['x'\]"),
        (lambda value: {"utilization": {"x" * 99: value}}, r"report\.utilization\['x{64}'\]"),
    ],
)
def test_a_figure_that_is_none_is_refused_by_its_field(figures: Any, field: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: is "):
        check_report(LoadReport(**figures(value)), "report")

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.arrivals import COLUMNS as ARRIVAL_COLUMNS
from benchmarks.client import DEADLINE_EXCEEDED, OK, UNAVAILABLE
from benchmarks.goodput import RESOURCE_EXHAUSTED, judged
from benchmarks.growth import grown, growth_verdicts
from benchmarks.overload import FACTORS, main, overload_verdicts
from benchmarks.samples import Row, Samples
from benchmarks.tenants import FEW_RATE, OWN, SHARED, fairness_verdicts
from sidecar.wire import router_pb2 as pb

SCORED = pb.RouteResponse(reasons=[pb.REASON_LEARNED]).SerializeToString()
SAFE = pb.RouteResponse(reasons=[pb.REASON_DEGRADED]).SerializeToString()


def run(*calls: tuple[int, bytes, float]) -> Samples:
    """Calls of (status, body, seconds), due at 0 and handed over at once; headers are written after 10 ms."""
    status, bodies, took = zip(*calls, strict=True)
    zeros = np.zeros(len(calls))
    return Samples(zeros, zeros, np.array(took), np.array(status), list(bodies), 2.0, zeros + 0.01)


def test_only_scored_answers_within_the_deadline_are_good() -> None:
    row = judged(
        run(
            (OK, SCORED, 0.02),
            (OK, SCORED, 0.06),
            (OK, SAFE, 0.001),
            (DEADLINE_EXCEEDED, b"", 0.05),
            (RESOURCE_EXHAUSTED, b"", 0.001),
            (UNAVAILABLE, b"", 0.001),
        ),
        0.05,
    )
    assert row["goodput_per_second"] == 0.5
    assert (row["coverage"], row["coverage_of_answered"]) == (
        pytest.approx(2 / 6, abs=1e-4),
        pytest.approx(2 / 3, abs=1e-4),
    )
    assert (row["late"], row["rejected"], row["degraded"]) == (1, 1, 1)
    assert row["errors"] == {"UNAVAILABLE": 1}
    assert row["success"] == 0.5


def test_latency_is_told_from_the_real_send_and_from_the_due_time() -> None:
    row = judged(run((OK, SCORED, 0.02), (OK, SCORED, 0.02), (OK, SAFE, 0.001)), 0.05)
    assert row["sent_p50_us"] == pytest.approx(10_000)
    assert row["due_p50_us"] == pytest.approx(20_000)


def test_without_an_answer_there_are_no_latencies() -> None:
    row = judged(run((DEADLINE_EXCEEDED, b"", 0.05)), 0.05)
    assert (row["coverage"], row["coverage_of_answered"], row["sent_p50_us"], row["late"]) == (0.0, None, None, 1)


def test_every_open_loop_table_states_its_coverage() -> None:
    assert "coverage" in ARRIVAL_COLUMNS


def test_a_sidecar_with_a_configuration_of_ones_own_is_overloaded(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.tenants.FEW_SECONDS", 0.3)
    config, figures = tmp_path / "sidecar.toml", tmp_path / "figures.json"
    config.write_text('safe_candidate = "medium"\n')
    options = ["--bundle", str(tiny_bundle), "--config", str(config), "--seconds", "0.3", "--warm-up", "0.05"]
    options += ["--memory-seconds", "0.3"]
    result = CliRunner().invoke(main, [*options, "--json", str(figures)])
    assert result.exit_code == 0, result.output
    sections = json.loads(figures.read_text())["sections"]
    rows = sections["overload"]["rows"]
    assert [row["factor"] for row in rows] == list(FACTORS)
    for row in rows:
        assert row["peak_per_second"] > 0
        told = round(row["coverage"] * row["calls"]) + row["late"] + row["rejected"] + row["degraded"]
        assert told + sum(row["errors"].values()) == pytest.approx(row["calls"], abs=row["calls"] * 1e-4 + 1)
    (ratio,) = [note for note in sections["fairness"]["notes"] if note.startswith("score cache:")]
    assert "0.00% hits" in ratio
    few = sections["fairness"]["rows"]
    assert [row["subject"] for row in few[1::2]] == [OWN, SHARED]
    assert few[0]["calls"] == few[1]["calls"] == few[3]["calls"] == pytest.approx(0.3 * FEW_RATE, abs=20)
    assert sections["memory"]["rows"][0]["before_mb"] > 0
    assert sections["overload_verdicts"]["rows"]


def test_a_configuration_that_does_not_fit_is_told_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text("wrong = 1\n")
    result = CliRunner().invoke(main, ["--config", str(config)])
    assert result.exit_code != 0
    assert "wrong" in result.output
    assert "Traceback" not in result.output


def row(factor: float, ratio: float, p99_us: float | None) -> Row:
    return {
        "factor": factor, "ratio_to_peak": ratio, "sent_p99_us": p99_us, "coverage_of_answered": 0.4, "recovery_us": 60_000
    }  # fmt: skip


def verdicts(*rows: Row) -> dict[str, tuple[float | None, str]]:
    return {each["subject"]: (each["value"], each["verdict"]) for each in overload_verdicts(list(rows), 100.0).rows}


def test_overload_is_judged_at_each_multiple() -> None:
    found = verdicts(row(0.5, 0.5, 5e3), row(3.0, 0.95, 140e3))
    assert found["goodput / peak, at 0.5x of peak"] == (0.5, "-")
    assert found["goodput / peak, at 3x of peak"] == (0.95, "met")
    assert found["p99 of good calls, ms, at 0.5x of peak"] == (5.0, "met")
    assert found["p99 of good calls, ms, at 3x of peak"] == (140.0, "MISSED")
    assert found["one call after 3x of peak, ms"] == (60.0, "MISSED")
    assert "one call after 0.5x of peak, ms" not in found


def test_without_a_good_call_there_is_no_p99_to_judge() -> None:
    found = verdicts(row(3.0, 0.0, None))
    assert found["p99 of good calls, ms, at 3x of peak"] == (None, "-")
    assert found["goodput / peak, at 3x of peak"] == (0.0, "MISSED")


def test_the_small_segment_is_judged_by_what_was_answered() -> None:
    shares = {"success": 0.96, "coverage": 0.5}
    found = fairness_verdicts([{"subject": subject, **shares} for subject in ("few, alone", OWN, SHARED)])
    assert [(each["value"], each["verdict"]) for each in found] == [
        (0.96, "MISSED"), (0.5, "-"), (0.96, "met"), (0.5, "-")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("read", "expected"), [([110.0, 125.0, 120.0], "met"), ([100.0, 140.0], "MISSED"), ([], "met")]
)
def test_memory_is_judged_by_its_highest_reading(read: list[float], expected: str) -> None:
    (judgement,) = growth_verdicts([grown("runs", 100.0, read)])
    assert judgement["verdict"] == expected

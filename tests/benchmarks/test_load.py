import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import load
from benchmarks.fleet import cost, fault, herd, sweep
from benchmarks.fleet.sweep import BLIND, LEAST, OURS, TURNS
from benchmarks.report import Section


def test_all_lines_with_a_target_are_gathered() -> None:
    with_target = {"subject": "a", "value": 1.0, "target": "<= 2", "verdict": "met"}
    sections = [
        Section("one", "", (), [{"subject": "figures", "value": 3}, with_target]),
        Section("two", "", (), [{"subject": "b", "value": 1.0, "target": None, "verdict": "-"}]),
    ]
    assert load.verdicts(sections).rows == [with_target]


def test_missing_data_is_said_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(load.main, ["--only", "herd", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "routing_test.parquet: cannot be read" in result.output
    assert "Traceback" not in result.output


@pytest.mark.data
@pytest.mark.slow
def test_one_command_measures_everything_beside_a_real_sidecar(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "QUICK_SWEEP", sweep.Extent(20.0, 20.0, 2.0, (0.5, 1.0)))
    monkeypatch.setattr(load, "QUICK_FAULT", fault.Plan(1.5, 4.0, 6.0))
    monkeypatch.setattr(load, "QUICK_COST", cost.Extent(0.2, 1, 0.5))
    monkeypatch.setattr(herd, "CASES", herd.CASES[:1])
    monkeypatch.setattr(cost, "PROMPTS", 500)
    result = CliRunner().invoke(load.main, ["--quick", "--data", str(shared_data), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "load.json").read_text())
    sections = {name: section["rows"] for name, section in document["sections"].items()}
    rows = sections["sweep_azure2023_conv"]
    assert [(row["subject"], row["load"]) for row in rows] == [
        (subject, at) for at in (0.5, 1.0) for subject in (BLIND, TURNS, LEAST, OURS)
    ]
    for row in rows:
        assert sum(row["shares"].values()) == pytest.approx(1.0, abs=0.01)
        assert row["failed"] == 0
        assert 0.5 < row["quality"] < 0.9
    assert len({row["requests"] for row in rows[:4]}) == 1
    could = sections["sweep_azure2023_conv_bounds"]
    assert len(could) == 5
    assert all(row["ratio"] > 0.5 for row in could if row.get("ratio"))
    assert could[1]["prices"] == could[3]["prices"] == "1x"
    (failed,) = sections["fault"]
    assert failed["decisions"] == pytest.approx(6 * fault.DECISIONS_PER_S)
    (burst,) = sections["herd"]
    assert (burst["errors"], sum(burst["shares"].values())) == ({}, pytest.approx(1.0, abs=0.001))
    assert {row["subject"] for row in sections["cost"][:2]} == {cost.OFF, cost.ON}
    assert all(row["worker_us_per_call"] > 0 for row in sections["cost"][:2])
    assert len(sections["targets"]) >= 10
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.latency import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--concurrency", "1,x"], "no list of numbers"),
        (["--rate", "-5"], "must be positive"),
        (["--window", "9"], "two numbers"),
        (["--window", "9:3"], "end after its beginning"),
        (["--trace", "absent.csv"], "no such file"),
        (["--target", "127.0.0.1:1", "--only", "closed"], "is it a sidecar?"),
        (["--server-core", "4096"], "core 4096 cannot be used"),
        (["--chars", "3"], "3 is not in the range"),
    ],
)
def test_a_wrong_option_gets_one_clear_line(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert told in result.output
    assert "Traceback" not in result.output


def test_a_sidecar_is_measured_beside_its_floors(tmp_path: Path, tiny_bundle: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ["--bundle", str(tiny_bundle), "--seconds", "0.2", "--warm-up", "0.05", "--concurrency", "1,4"]
    result = CliRunner().invoke(main, [*options, "--only", "closed", "--json", str(figures)])
    assert result.exit_code == 0, result.output
    written = json.loads(figures.read_text())
    assert written["machine"]["server"]["bundle"].startswith("tiny")
    rows = written["sections"]["closed_loop"]["rows"]
    assert [row["subject"] for row in rows[::2]] == [
        "Route",
        "empty handler, http2",
        "empty handler, grpcio",
    ]
    assert all(row["per_second"] > 0 and row["errors"] == {} for row in rows)
    assert rows[0]["coverage"] == 1.0
    assert {row["in_flight"] for row in written["sections"]["stages"]["rows"]} == {1, 4}
    assert "empty handler, http2" in result.output


def test_prompts_miss_the_score_cache_unless_they_are_meant_to_hit_it(tmp_path: Path, tiny_bundle: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ["--bundle", str(tiny_bundle), "--seconds", "0.2", "--warm-up", "0.05", "--rounds", "2"]
    only = ["--only", "closed", "--only", "open", "--only", "cache", "--concurrency", "1,4", "--rate", "200"]
    result = CliRunner().invoke(main, [*options, *only, "--json", str(figures)])
    assert result.exit_code == 0, result.output
    sections = json.loads(figures.read_text())["sections"]
    route = [row for row in sections["closed_loop"]["rows"] if row["subject"] == "Route"]
    assert [row["cached_share"] for row in [*route, *sections["open_loop"]["rows"]]] == [0.0] * 3
    miss, hit = sections["cache"]["rows"]
    assert (miss["cached_share"], miss["score_p50_us"] > 0) == (0.0, True)
    assert (hit["cached_share"] > 0.9, hit["score_p50_us"]) == (True, 0.0)
    for name in ("closed_loop", "open_loop"):
        assert any("score cache: 0.00% hits of" in note for note in sections[name]["notes"])

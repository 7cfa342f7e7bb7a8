import json
from pathlib import Path

import pytest

from benchmarks.report import HEADS, Section, cell, table, write_json

SECTION = Section(
    "closed_loop",
    "Closed loop",
    ("subject", "in_flight", "p50_us", "queue_p99_us", "errors"),
    [
        {"subject": "Route", "in_flight": 1, "p50_us": 123.4, "queue_p99_us": None, "errors": {}},
        {"subject": "empty", "in_flight": 128, "p50_us": 12345.6, "errors": {"UNAVAILABLE": 3}, "hidden": 1},
    ],
    ["something to know"],
)


def test_a_table_has_its_columns_aligned_under_their_heads() -> None:
    blank, title, heads, _, first, second, note = table(SECTION).splitlines()
    assert (blank, title) == ("", "Closed loop")
    assert heads.split("  ")[0] == "subject"
    assert HEADS["in_flight"] in heads
    assert "queue p99" in heads
    assert first.index("123") + 3 == second.index("12,346") + 6 == heads.index("p50 us") + 6
    assert first.split() == ["Route", "1", "123", "-", "0"]
    assert second.split() == ["empty", "128", "12,346", "-", "UNAVAILABLE", "3"]
    assert "something to know" in note
    assert "hidden" not in heads


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.12345, "0.123"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (7, "7"),
        (40000, "40,000"),
        ({}, "0"),
        ({"INTERNAL": 2, "UNAVAILABLE": 1}, "INTERNAL 2, UNAVAILABLE 1"),
        ("word", "word"),
    ],
)
def test_values_stand_in_a_table_as_readers_write_them(value: object, text: str) -> None:
    assert cell(value) == text


def test_json_holds_all_that_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_json(path, {"cpu": "one"}, [SECTION])
    written = json.loads(path.read_text())
    assert written["machine"] == {"cpu": "one"}
    assert written["sections"]["closed_loop"]["rows"][1]["hidden"] == 1
    assert written["sections"]["closed_loop"]["notes"] == ["something to know"]

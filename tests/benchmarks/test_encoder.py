from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import ceiling, encoder
from benchmarks.minilm import MINILM, texts, tokenizer


def test_a_caller_in_a_queue_waits_for_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "one_by_one", lambda *_: ceiling.Share([1.0, 2.0, 3.0], 3.0))
    one, two = encoder._rows("plain", None, encoder.Traffic([], []), [1, 2], 1.0)
    assert (one["p50_us"], one["per_second"]) == (2e6, 0.5)
    assert (two["p50_us"], two["per_second"]) == (4e6, 0.5)


def test_a_static_bundle_is_refused(tiny_bundle: Path) -> None:
    result = CliRunner().invoke(encoder.main, ["--bundle", str(tiny_bundle)])
    assert result.exit_code == 1
    assert "holds a static router" in result.output


def test_ratios_are_told_against_each_plain_session_of_the_same_level() -> None:
    rows = [
        {"subject": "plain session", "in_flight": 4, "per_second": 50.0, "p99_us": 100.0, "cpu ms a request": 8.0},
        {"subject": "plain session", "in_flight": 1, "per_second": 50.0, "p99_us": 100.0, "cpu ms a request": 8.0},
        {"subject": "Route, 2 worker(s)", "in_flight": 4, "per_second": 125.0, "p99_us": 50.0, "cpu ms a request": 6.0},
        {"subject": "Route, 2 worker(s)", "in_flight": 1, "per_second": 10.0, "p99_us": None, "cpu ms a request": 6.0},
    ]
    (note,) = encoder._ratios(rows)
    assert note == (
        "Route, 2 worker(s), 4 in flight: 2.50x the requests, 0.50x the p99 and 0.75x the processor time of the plain session"
    )


def test_every_level_is_told_against_the_ceiling() -> None:
    rows = [
        {"subject": f"{encoder.CEILING}, 2 processes", "in_flight": 2, "per_second": 100.0, "p99_us": 100.0},
        {"subject": "Route, 2 worker(s)", "in_flight": 16, "per_second": 90.0, "p99_us": None},
    ]
    (note,) = encoder._ratios(rows)
    assert note == (
        "Route, 2 worker(s), 16 in flight: 0.90x the requests of the ceiling: a plain session on each core, 2 processes"
    )


def test_made_up_texts_have_as_many_tokens_as_words_and_two() -> None:
    made = tokenizer(MINILM)
    assert [len(made.encode(text).ids) for text in texts([1, 7, 40])] == [3, 9, 42]

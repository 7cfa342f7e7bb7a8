"""Prices: one list, or several by suite; a missing one is an error that names the candidate."""

import json
from pathlib import Path
from typing import Any

import pytest

from export.errors import DataError
from export.prices import Price, read_prices

CHEAP = {"input_per_mtok": 1, "output_per_mtok": 2.5}
DEAR = {"input_per_mtok": 10, "output_per_mtok": 20, "price_source": "a list"}
DATA = Path("mine.parquet")


def _write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "llms.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_flat_file_in_the_order_asked_for(tmp_path: Path) -> None:
    path = _write(tmp_path, {"llms": {"a": CHEAP, "b": DEAR}})
    assert read_prices(path, ["b", "a"], DATA) == (Price(10.0, 20.0), Price(1.0, 2.5))


def test_of_several_suites_the_one_of_the_file_counts(tmp_path: Path) -> None:
    suites = {
        "one": {"files": ["other.parquet"], "llms": {"a": CHEAP}},
        "two": {"files": ["mine.parquet"], "llms": {"a": DEAR}},
    }
    assert read_prices(_write(tmp_path, suites), ["a"], DATA) == (Price(10.0, 20.0),)


def test_else_the_only_suite_that_prices_all(tmp_path: Path) -> None:
    suites = {"one": {"llms": {"a": CHEAP}}, "two": {"llms": {"a": DEAR, "b": DEAR}}}
    assert read_prices(_write(tmp_path, suites), ["a", "b"], DATA) == (Price(10.0, 20.0),) * 2


def test_two_fitting_suites_are_ambiguous(tmp_path: Path) -> None:
    suites = {"one": {"llms": {"a": CHEAP}}, "two": {"llms": {"a": DEAR}}}
    with pytest.raises(DataError, match="2 of its suites"):
        read_prices(_write(tmp_path, suites), ["a"], DATA)


@pytest.mark.parametrize("entry", [None, {}, {"input_per_mtok": 1}, {"input_per_mtok": 1, "output_per_mtok": None}])
def test_a_missing_price_names_the_candidate(tmp_path: Path, entry: Any) -> None:
    llms = {"a": CHEAP} | ({"b": entry} if entry is not None else {})
    with pytest.raises(DataError, match="no price for 'b'"):
        read_prices(_write(tmp_path, {"llms": llms}), ["a", "b"], DATA)


def test_a_negative_price(tmp_path: Path) -> None:
    llms = {"a": {"input_per_mtok": -1, "output_per_mtok": 1}}
    with pytest.raises(DataError, match="negative"):
        read_prices(_write(tmp_path, {"llms": llms}), ["a"], DATA)


@pytest.mark.parametrize("content", ["", "[]", '{"llms": 3}', '{"llms": {"a": {"input_per_mtok": "1"}}}'])
def test_a_broken_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="is no list of prices"):
        read_prices(_write(tmp_path, content), ["a"], DATA)


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_prices(tmp_path / "absent.json", ["a"], DATA)

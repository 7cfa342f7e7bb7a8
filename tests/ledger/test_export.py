import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from export.outcomes import read_outcomes
from sidecar.ledger import export as module
from sidecar.ledger.export import Exported, export
from sidecar.ledger.noted import Noted, Origin
from sidecar.ledger.rows import first_id
from sidecar.ledger.store import Store, StoreError
from tests.ledger.made import imported, name, noted, said

DAYS = tuple(datetime(2027, 1, day, 12, tzinfo=UTC).timestamp() for day in (14, 15, 17))
SINCE, UNTIL = date(2027, 1, 14), date(2027, 1, 18)


@pytest.fixture
def filled(store: Store) -> Store:
    """Two decisions on each of three days; the first of each has an outcome with a quality, and its prompt."""
    for number, at in enumerate(DAYS):
        labelled, bare = name(at), name(at + 1)
        told = said(
            labelled, "judge", received=at + 9, quality=number / 2, output_tokens=40 + number, labels={"a": "b"}
        )
        shadow = said(labelled, "judge", received=at + 9, model="acme/large-2", shadow=True, quality=1.0)
        store.add(
            imported(
                noted([labelled], propensity=[0.5]),
                outcomes=[told, *([shadow] if number == 0 else [])],
                keep_prompt=lambda prompt: prompt,
            )
        )
        store.add(imported(noted([bare])))
    return store


def read(directory: Path) -> list[dict[str, object]]:
    rows = ds.dataset(directory, format="parquet", partitioning="hive").to_table().to_pylist()
    return sorted(rows, key=lambda row: str(row["decision_id"]))


def test_there_is_a_directory_for_each_day_that_has_decisions(filled: Store, tmp_path: Path) -> None:
    assert export(filled, tmp_path / "out", SINCE, UNTIL) == Exported(6, 3, 3)
    files = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.parquet"))
    assert files == [f"day=2027-01-{day}/part-0000.parquet" for day in (14, 15, 17)]


def test_a_row_says_what_was_decided_and_what_became_of_it(filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(filled, out, SINCE, UNTIL)
    first, second, *_ = read(out)
    assert first["decided_at"] == datetime(2027, 1, 14, 12, tzinfo=UTC)
    wanted = {
        "day": "2027-01-14", "prompt": "the secret prompt 0", "segment": "shop", "prompt_tokens": 12,
        "candidate": "small", "propensity": 0.5, "applied": True, "reasons": ["LEARNED", "NOVEL"],
        "bundle_version": "3", "candidates": ["small", "large"], "ranking": ["small", "large"],
        "exclusions": ["NONE", "NONE"],
        "answered": "small", "quality": 0.0, "quality_source": "judge", "labels": '{"a":"b"}',
        "q:small": 0.0, "q:large": 1.0, "out_tokens:small": 40.0, "out_tokens:large": None,
        "embedding": [0.0, 0.125, 0.25, 0.375], "expected_seconds": [0.0, 1.0],
    }  # fmt: skip
    assert {key: str(first[key]) if key == "day" else first[key] for key in wanted} == wanted
    missing = ("prompt", "quality", "quality_source", "labels", "q:small", "q:large", "latency_ms", "error")
    assert {key: second[key] for key in missing} == dict.fromkeys(missing)
    assert (second["answered"], second["propensity"]) == ("small", 1.0)


def test_the_trainer_reads_it(filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(filled, out, SINCE, UNTIL, training=True) == Exported(3, 3, 3)
    outcomes = read_outcomes(out / "day=2027-01-14" / "part-0000.parquet")
    assert outcomes.prompts == ("the secret prompt 0",)
    assert outcomes.candidates == ("large", "small")
    assert (outcomes.quality.tolist(), outcomes.segments.tolist()) == ([[1.0, 0.0]], ["shop"])
    assert np.isnan(outcomes.output_tokens[0, 0])
    assert (outcomes.output_tokens[0, 1], outcomes.prompt_tokens[0]) == (40.0, 12.0)


def test_days_that_are_exported_again_are_replaced_and_others_stay(filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(filled, out, SINCE, UNTIL)
    late = name(DAYS[1] + 5)
    filled.add(imported(noted([late])))
    (out / "day=2027-01-15" / "part-0007.parquet").write_bytes(b"of an earlier export")
    export(filled, out, date(2027, 1, 15), date(2027, 1, 16))
    assert len(read(out)) == 7
    filled.expire(first_id(DAYS[1]), 99)
    assert export(filled, out, date(2027, 1, 14), date(2027, 1, 15)) == Exported(0, 0, 0)
    assert len(read(out)) == 5


def test_large_days_are_split_into_files(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(module, "MOST_ROWS", 2)
    monkeypatch.setattr("sidecar.ledger.history.PAGE", 2)
    store.add(imported(noted([name(DAYS[0] + second) for second in range(5)])))
    assert export(store, out, SINCE, UNTIL) == Exported(5, 0, 3)
    names = {str(file) for file in (out / "day=2027-01-14").iterdir()}
    assert [pq.read_table(file).num_rows for file in sorted(names)] == [2, 2, 1]


def day_of(place: int, **more: object) -> Noted:
    return noted([name(DAYS[place])], **more)  # type: ignore[arg-type]


def columns(directory: Path) -> list[list[str]]:
    return [pq.read_schema(file).names for file in sorted(directory.rglob("*.parquet"))]


def test_there_is_a_column_for_each_candidate_whether_its_quality_is_known_or_not(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    store.add(imported(day_of(0, width=0)))
    export(store, out, SINCE, UNTIL)
    (row,) = read(out)
    assert {"q:small", "q:large", "out_tokens:small", "out_tokens:large", "prompt", "embedding"} <= row.keys()
    assert {row[name] for name in ("q:small", "q:large", "prompt", "embedding")} == {None}


def test_days_that_are_exported_one_by_one_have_the_same_columns(filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for day in (14, 15, 16, 17):
        assert export(filled, out, date(2027, 1, day), date(2027, 1, day + 1)).narrower == ()
    one, *others = columns(out)
    assert others == [one, one]


def test_a_candidate_that_has_a_column_in_days_before_has_one_in_this(filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(filled, out, SINCE, date(2027, 1, 15), training=True)
    assert "q:large" in columns(out)[0]
    export(filled, out, date(2027, 1, 15), UNTIL, training=True)  # there, nobody judged the large one
    one, *others = columns(out)
    assert others == [one, one]


def test_days_before_a_candidate_came_are_named(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    grown = Origin(("demo", "4", "cd" * 32), ("small", "large", "new"), ("s", "l", "n"))
    store.add(imported(day_of(0), day_of(1, origin=grown)))
    assert export(store, out, SINCE, date(2027, 1, 15)).narrower == ()
    assert export(store, out, date(2027, 1, 15), UNTIL).narrower == ("day=2027-01-14",)
    assert export(store, out, SINCE, UNTIL).narrower == ()
    one, other = columns(out)
    assert one == other


def test_there_is_nothing_to_train_on_without_prompts_and_labels(store: Store, tmp_path: Path) -> None:
    labelled = name(DAYS[0])
    store.add(imported(noted([labelled]), outcomes=[said(labelled, received=DAYS[0] + 1, quality=1.0)]))
    with pytest.raises(StoreError, match=r"set ledger\.store_prompts"):
        export(store, tmp_path, SINCE, UNTIL, training=True)


def test_without_pyarrow_one_is_told_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sidecar.ledger.export")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StoreError, match=r"install 'router-sidecar\[train\]'"):
        __import__("sidecar.ledger.export")

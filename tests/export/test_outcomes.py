"""Reading training data: what is accepted, and one clear error for each thing that is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from export.errors import DataError
from export.outcomes import read_outcomes

Columns = dict[str, Any]


def test_reads_labels_lengths_and_hints(columns: Columns, write_parquet: Any) -> None:
    outcomes = read_outcomes(write_parquet(columns))
    assert outcomes.candidates == ("small", "large")
    assert outcomes.quality.shape == outcomes.output_tokens.shape == (240, 2)
    assert outcomes.segment_names() == ["algebra", "cooking", "poems"]
    assert np.isnan(outcomes.quality[:, 0]).sum() == columns["q:small"].count(None) > 0


def test_a_missing_label_is_unknown_not_zero(columns: Columns, write_parquet: Any) -> None:
    columns["q:small"][:3] = [None, 0.0, 1.0]
    quality = read_outcomes(write_parquet(columns)).quality[:3, 0]
    assert np.isnan(quality[0])
    assert quality[1:].tolist() == [0.0, 1.0]


def test_rows_without_any_label_are_left_out(write_parquet: Any) -> None:
    rows = {"prompt": ["a", "b", "c"], "q:a": [1.0, None, None], "q:b": [None, None, 0.0]}
    assert read_outcomes(write_parquet(rows)).prompts == ("a", "c")
    assert read_outcomes(write_parquet(rows), ["b"]).prompts == ("c",)


def test_candidates_can_be_chosen_and_ordered(columns: Columns, write_parquet: Any) -> None:
    assert read_outcomes(write_parquet(columns), ["large"]).candidates == ("large",)
    assert read_outcomes(write_parquet(columns), ["large", "small"]).candidates == ("large", "small")


def test_optional_columns_have_stand_ins(write_parquet: Any) -> None:
    outcomes = read_outcomes(write_parquet({"prompt": ["x" * 40, "y"], "q:a": [1.0, 0.0]}))
    assert outcomes.prompt_tokens.tolist() == [11.0, 1.25]
    assert np.isnan(outcomes.output_tokens).all()
    assert outcomes.segment_names() == [""]


def test_equal_prompts_are_one_group_without_group_ids(write_parquet: Any) -> None:
    prompts = ["Same question", "same   question", "another"]
    groups = read_outcomes(write_parquet({"prompt": prompts, "q:a": [1.0, 0.0, 1.0]})).groups
    assert groups[0] == groups[1] != groups[2]


def test_groups_agree_between_files(columns: Columns, write_parquet: Any) -> None:
    first = read_outcomes(write_parquet(columns, "a.parquet"))
    second = read_outcomes(write_parquet({key: value[:10] for key, value in columns.items()}, "b.parquet"))
    assert first.groups[:10].tolist() == second.groups.tolist()
    assert len(first.joined(second)) == 250


def test_files_with_other_candidates_do_not_join(columns: Columns, write_parquet: Any) -> None:
    path = write_parquet(columns)
    with pytest.raises(DataError, match="different candidates"):
        read_outcomes(path, ["small"]).joined(read_outcomes(path, ["large"]))


def _without(name: str) -> Any:
    return lambda columns: columns.pop(name)


def _set(name: str, value: Any) -> Any:
    return lambda columns: columns[name].__setitem__(slice(0, 1), [value])


def _all(name: str, value: Any) -> Any:
    return lambda columns: columns.__setitem__(name, value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("prompt"), "column `prompt` is missing"),
        (_set("prompt", "  \n"), "`prompt` is blank in row 0"),
        (_set("prompt", None), "`prompt` is blank in row 0"),
        (_all("prompt", list(range(240))), "`prompt` holds int64"),
        (_all("q:small", pa.array([None] * 240, pa.float32())), "`q:small` has no label at all"),
        (_set("q:large", float("nan")), "`q:large` holds NaN"),
        (_set("q:large", 1.5), r"`q:large` has values outside \[0, 1\]"),
        (_set("q:large", -0.1), r"`q:large` has values outside \[0, 1\]"),
        (_all("q:large", ["good"] * 240), "`q:large` holds string"),
        (_set("out_tokens:small", -5), "`out_tokens:small` has a negative"),
        (_all("segment", [[1]] * 240), "`segment` holds list"),
    ],
)
def test_a_wrong_column_is_named(columns: Columns, write_parquet: Any, spoil: Any, message: str) -> None:
    spoil(columns)
    with pytest.raises(DataError, match=message):
        read_outcomes(write_parquet(columns))


def test_no_candidate_columns(write_parquet: Any) -> None:
    with pytest.raises(DataError, match="no column `q:NAME`"):
        read_outcomes(write_parquet({"prompt": ["hello"]}))


def test_no_rows(columns: Columns, write_parquet: Any) -> None:
    with pytest.raises(DataError, match="holds no rows"):
        read_outcomes(write_parquet({key: pa.array(values)[:0] for key, values in columns.items()}))


def test_unknown_candidate(columns: Columns, write_parquet: Any) -> None:
    with pytest.raises(DataError, match="candidate 'huge' has no column `q:huge`; the file has small, large"):
        read_outcomes(write_parquet(columns), ["small", "huge"])


def test_a_candidate_named_twice(columns: Columns, write_parquet: Any) -> None:
    with pytest.raises(DataError, match="twice"):
        read_outcomes(write_parquet(columns), ["small", "small"])


def test_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_text("prompt,q:a\nhello,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_outcomes(path)


def test_an_empty_file_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.touch()
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_outcomes(path)


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_outcomes(tmp_path / "absent.parquet")

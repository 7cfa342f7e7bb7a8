"""The command line: one line per error, JSON with the promised keys, a picture."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from export.cli import main
from sidecar.bundle.load import load


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_trains_a_bundle_that_loads(columns: Any, write_parquet: Any, llms_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    data = write_parquet({name: values[:60] for name, values in columns.items()})
    result = _run(
        *("train", "--data", data, "--llms", llms_file, "--out", out, "--candidates", "large, small"),
        *("--name", "mine", "--version", "7", "--max-chars", 500, "--quiet"),
        *("--shrink-floor", 0.1),
    )
    assert result.exit_code == 0, result.output
    manifest = load(out).manifest
    assert (manifest.name, manifest.version, manifest.text_recipe.max_chars) == ("mine", "7", 500)
    assert [candidate.name for candidate in manifest.candidates] == ["large", "small"]
    assert manifest.novelty.shrinkage["floor"] == 0.1


def test_evaluates_with_baselines_and_a_picture(
    columns: Any, write_parquet: Any, llms_file: Path, bundle_directory: Path, tmp_path: Path
) -> None:
    data, plot = write_parquet(columns), tmp_path / "curve.png"
    result = _run(
        *("evaluate", "--bundle", bundle_directory, "--data", data, "--llms", llms_file, "--train", data),
        *("--json", "--plot", plot),
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["baselines"].keys() == {"random", "always_best", "subject_table", "knn"}
    assert record["bundle"]["name"] == "tiny"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_prints_tables_for_people(columns: Any, write_parquet: Any, llms_file: Path, bundle_directory: Path) -> None:
    result = _run("evaluate", "--bundle", bundle_directory, "--data", write_parquet(columns), "--llms", llms_file)
    assert result.exit_code == 0, result.output
    for words in ("best single candidate", "97 % of its quality at", "algebra", "solved by", "random"):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--candidates", "small,huge"), "error: outcomes.parquet: candidate 'huge' has no column"),
        (("--out", "."), "error: --out: . exists and is not empty"),
    ],
)
def test_an_error_is_one_line(
    columns: Any,
    write_parquet: Any,
    llms_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, str],
    message: str,
) -> None:
    write_parquet(columns)
    monkeypatch.chdir(tmp_path)
    fixed = ("--data", "outcomes.parquet", "--llms", llms_file, "--out", "out")
    result = _run("train", *fixed, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_a_single_segment_cannot_be_left_out(columns: Any, write_parquet: Any, llms_file: Path) -> None:
    columns["segment"] = ["one"] * len(columns["prompt"])
    result = _run(
        *("evaluate", "--data", write_parquet(columns), "--llms", llms_file, "--leave-one-segment-out", "--quiet")
    )
    assert result.exit_code == 1
    assert "at least two segments" in result.stderr


def test_evaluate_needs_a_bundle(columns: Any, write_parquet: Any, llms_file: Path) -> None:
    result = _run("evaluate", "--data", write_parquet(columns), "--llms", llms_file)
    assert result.exit_code == 1
    assert "--bundle" in result.stderr


def test_data_without_a_candidate_of_the_bundle(
    columns: Any, write_parquet: Any, llms_file: Path, bundle_directory: Path
) -> None:
    del columns["q:small"]
    result = _run("evaluate", "--bundle", bundle_directory, "--data", write_parquet(columns), "--llms", llms_file)
    assert result.exit_code == 1
    assert "candidate 'small' has no column `q:small`" in result.stderr


def test_a_bundle_teaches_another(columns: Any, write_parquet: Any, llms_file: Path, tmp_path: Path) -> None:
    data, said = write_parquet({name: values[:80] for name, values in columns.items()}), tmp_path / "said.parquet"
    more = write_parquet({"prompt": ["simmer a new stew", "solve a new equation"]}, "more.parquet")
    fixed = ("train", "--data", data, "--llms", llms_file, "--quiet")
    assert _run(*fixed, "--out", tmp_path / "teacher", "--out-of-fold", said).exit_code == 0
    taught = ("--distill-from", tmp_path / "teacher", "--teacher-scores", said, "--unlabelled", more)
    result = _run(*fixed, "--out", tmp_path / "student", *taught)
    assert result.exit_code == 0, result.output
    files = [load(tmp_path / name).manifest.files["model.onnx"].sha256 for name in ("teacher", "student")]
    assert files[0] != files[1]
    refused = _run(*fixed, "--out", tmp_path / "other", "--family", "encoder", *taught)
    assert refused.stderr.startswith("error: --distill-from: has no meaning with --family encoder")

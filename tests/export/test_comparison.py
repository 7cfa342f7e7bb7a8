"""`router-export compare`: the same figures as evaluate's, for bundles side by side."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from export.bundle import Label, write_bundle
from export.cli import main
from export.comparison import labels, of_candidates
from export.outcomes import Outcomes
from export.serve import forecast_of
from export.train import Trained
from sidecar.bundle.load import load
from tests.conftest import CANDIDATES, MakeBundle
from tests.export.conftest import OPTIONS, PRICES, make_columns


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, trained: Trained, outcomes: Outcomes) -> Path:
    """The bundle of the same network, under another name."""
    directory = tmp_path_factory.mktemp("twin") / "bundle"
    write_bundle(directory, trained, outcomes, PRICES, OPTIONS, Label("twin", "2", "made up", "none", ""))
    return directory


@pytest.fixture
def given(write_parquet: Any, llms_file: Path) -> tuple[object, ...]:
    data = write_parquet(make_columns(rows=120, seed=3, missing=0.0), "fresh.parquet")
    return ("--data", data, "--llms", llms_file)


def compared(*arguments: object) -> dict[str, Any]:
    result = run("compare", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_every_bundle_has_the_figures_that_evaluate_gives_it(
    bundle_directory: Path, tiny_bundle: Path, given: tuple[object, ...]
) -> None:
    record = compared(bundle_directory, bundle_directory, *given, "--timing-seconds", 0)
    judged = json.loads(run("evaluate", "--bundle", bundle_directory, *given, "--json").stdout)
    for row in record["bundles"]:
        for name in ("max_quality", "cost_ratio_at_best_single_quality", "cost_ratio_at_97pct", "ece", "curve"):
            assert row[name] == judged[name]
        assert (
            row["bytes"]
            == sum(file.stat().st_size for file in bundle_directory.iterdir() if file.suffix)
            - (bundle_directory / "manifest.json").stat().st_size
        )
        assert row["novelty_auroc"] is None
        assert "microseconds_per_request" not in row
    assert record["best_single"] == judged["best_single"]
    # Its own cost buys what its own policy bought, or more where a mix of policies is better.
    spent = record["equal_cost"][-1]
    assert spent["answer_value_usd"] == judged["operating_point"]["answer_value_usd"]
    assert spent["cost_usd_per_1k"] == pytest.approx(judged["operating_point"]["cost_usd_per_1k"])
    assert record["bundles"][0]["at_equal_cost"][-1]["quality"] >= judged["operating_point"]["quality"] - 1e-9


def test_a_twin_differs_by_nothing_and_a_bundle_that_knows_less_by_something(
    bundle_directory: Path, twin: Path, tiny_bundle: Path, given: tuple[object, ...]
) -> None:
    record = compared(bundle_directory, twin, tiny_bundle, *given, "--timing-seconds", 0)
    assert [row["label"] for row in record["bundles"]] == ["tiny 1 (bundle) #1", "twin 2", "tiny 1 (bundle) #3"]
    first, second, third = record["bundles"]
    assert first["difference_of_max_quality"] is None
    assert second["difference_of_max_quality"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "clear": False}
    assert all(found["difference"]["high"] == 0.0 for found in second["at_equal_cost"])
    # The tiny bundle of the tests has never heard of onions and matrices.
    difference = third["difference_of_max_quality"]
    assert difference["mean"] == pytest.approx(third["max_quality"] - first["max_quality"])
    assert difference["low"] <= difference["mean"] <= difference["high"]
    assert (second["left_out"], third["left_out"]) == ([], ["medium"])
    assert record["candidates"] == ["small", "large"]


def test_common_candidates_keep_their_own_columns(tiny_bundle: Path) -> None:
    bundle = load(tiny_bundle)
    forecast = forecast_of(bundle, ["what is the capital", "prove the theorem"])
    common = of_candidates(forecast, bundle, ("large", "small"))
    for name in ("quality", "unshrunk", "output_tokens"):
        np.testing.assert_array_equal(getattr(common, name), getattr(forecast, name)[:, [2, 0]])
    np.testing.assert_array_equal(common.novelty, forecast.novelty)


def test_the_table_says_what_is_compared_and_what_is_not(
    bundle_directory: Path, twin: Path, tiny_bundle: Path, given: tuple[object, ...]
) -> None:
    result = run("compare", bundle_directory, twin, tiny_bundle, *given, "--timing-seconds", 0.2)
    assert result.exit_code == 0, result.output
    for words in (
        "also knows medium; only the common candidates are compared",
        "max quality",
        "+0.00 [+0.00, +0.00]",
        "best single's quality at",
        "97 % of it at",
        "calibration error",
        "us a request, batch of 1",
        "us a request, batch of 32",
        "an answer is worth $0.005, $0.01, $1",
    ):
        assert words in result.stdout
    assert "novelty AUROC: prompts" not in result.stdout


def test_prompts_of_another_kind_are_more_novel(
    bundle_directory: Path, given: tuple[object, ...], write_parquet: Any
) -> None:
    strange = write_parquet(
        {"prompt": ["zebra quantum ledger parliament turbine"] * 5 + ["xylophone gazette"]}, "s.parquet"
    )
    record = compared(bundle_directory, *given, "--unseen", strange, "--timing-seconds", 0)
    assert record["unseen"] == "s.parquet"
    assert record["bundles"][0]["novelty_auroc"] > 0.8
    familiar = compared(bundle_directory, *given, "--unseen", given[1], "--timing-seconds", 0)
    assert familiar["bundles"][0]["novelty_auroc"] == pytest.approx(0.5)


def test_one_answer_value_gives_one_cost_and_training_data_gives_baselines(
    bundle_directory: Path, twin: Path, given: tuple[object, ...]
) -> None:
    record = compared(
        bundle_directory, twin, *given, "--answer-value", 0.002, "--train", given[1], "--timing-seconds", 0.05
    )
    (spent,) = record["equal_cost"]
    assert spent["answer_value_usd"] == 0.002
    assert spent["cost_usd_per_1k"] == pytest.approx(record["bundles"][0]["operating_point"]["cost_usd_per_1k"])
    for row in record["bundles"]:
        assert row["baselines"].keys() == {"random", "always_best", "subject_table", "knn"}
        assert row["microseconds_per_request"]["1"]["median"] > 0


def test_all_curves_go_into_one_picture(
    bundle_directory: Path, twin: Path, given: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []

    def kept(figure: Any, path: Path) -> None:
        (axes,) = figure.axes
        drawn.append(axes.get_legend_handles_labels()[1])
        save(figure, path)

    from matplotlib.figure import Figure  # noqa: PLC0415 - a second to import

    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", kept)
    picture = tmp_path / "curves.png"
    compared(bundle_directory, twin, *given, "--timing-seconds", 0, "--plot", picture)
    assert drawn == [["tiny 1", "twin 2"]]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_bundles_without_a_common_candidate_are_refused(
    bundle_directory: Path, make_bundle: MakeBundle, given: tuple[object, ...], tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other", candidates=CANDIDATES[1:2])
    result = run("compare", bundle_directory, other, *given)
    assert result.exit_code == 1
    assert result.stderr == (
        "error: the bundles have no candidate in common: tiny 1 has small, large; tiny 1 has medium. Compare bundles of "
        "the same candidates.\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--unseen": "no"}, "--unseen"),
        ({"--unseen": "columns"}, "column `prompt` is missing"),
        ({"bundle": "no"}, "nowhere: no such bundle directory"),
    ],
)
def test_a_wrong_file_is_named(
    bundle_directory: Path, given: tuple[object, ...], write_parquet: Any, change: dict[str, str], message: str
) -> None:
    paths = {"no": Path("nowhere"), "columns": write_parquet({"text": ["a"]}, "columns.parquet")}
    bundles = [bundle_directory, *(paths[value] for name, value in change.items() if name == "bundle")]
    options = [part for name, value in change.items() if name != "bundle" for part in (name, paths[value])]
    result = run("compare", *bundles, *given, *options)
    assert result.exit_code != 0
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_at_least_one_bundle_must_be_named(given: tuple[object, ...]) -> None:
    result = run("compare", *given)
    assert result.exit_code == 2
    assert "BUNDLE" in result.stderr


def test_bundles_called_alike_are_told_apart(tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "copy")
    here, copy = load(tiny_bundle), load(tmp_path / "copy")
    assert labels([here]) == ["tiny 1"]
    assert labels([here, copy]) == ["tiny 1 (bundle)", "tiny 1 (copy)"]
    assert labels([here, copy, here]) == ["tiny 1 (bundle) #1", "tiny 1 (copy)", "tiny 1 (bundle) #3"]

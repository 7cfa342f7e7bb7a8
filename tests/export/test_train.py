"""Training as a whole: it learns, calibrates, repeats itself, and says what is wrong with the data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle import Label, write_bundle
from export.calibration import calibration_error
from export.errors import DataError
from export.network import Settings
from export.outcomes import Outcomes, read_outcomes
from export.prices import Price
from export.targets import DEFAULT_OUTPUT_TOKENS
from export.train import Options, Trained, train

QUICK = Options(members=1, folds=3, dimensions=8, max_tokens=64, workers=1, network=Settings(hidden=8, steps=30))


def _quality(trained: Trained, outcomes: Outcomes) -> np.ndarray:
    return trained.scores([prompt.lower() for prompt in outcomes.prompts], 64)[0]


def test_learns_which_candidate_fails_where(trained: Trained, fresh_outcomes: Outcomes) -> None:
    quality = _quality(trained, fresh_outcomes)
    algebra = fresh_outcomes.segments == "algebra"
    assert quality[algebra, 0].mean() < 0.4
    assert quality[algebra, 1].mean() > 0.7
    assert quality[fresh_outcomes.segments == "cooking"].mean() > 0.75


def test_is_calibrated_on_fresh_prompts(trained: Trained, fresh_outcomes: Outcomes) -> None:
    assert calibration_error(_quality(trained, fresh_outcomes), fresh_outcomes.quality) < 0.1


def test_learns_the_length_of_answers(trained: Trained, fresh_outcomes: Outcomes) -> None:
    tokens = trained.scores([prompt.lower() for prompt in fresh_outcomes.prompts], 64)[2]
    algebra = fresh_outcomes.segments == "algebra"
    assert tokens[algebra].mean() == pytest.approx(150, abs=15)
    assert tokens[~algebra].mean() == pytest.approx(100, abs=15)


def test_priors_are_means_of_the_known_labels(trained: Trained, outcomes: Outcomes) -> None:
    np.testing.assert_allclose(trained.prior, np.nanmean(outcomes.quality, axis=0), atol=1e-6)


def test_metrics_are_cross_validated(trained: Trained) -> None:
    assert 0.0 < trained.metrics["cross_validated_brier"] < 0.25
    assert trained.metrics.keys() >= {"cross_validated_ece", "cross_validated_ece_uncalibrated"}


def test_equal_seeds_give_equal_files(outcomes: Outcomes, tmp_path: Path) -> None:
    label, prices = Label("tiny", "1", "made up", "none", ""), (Price(1.0, 1.0), Price(2.0, 2.0))
    hashes = []
    for run, seed, workers in (("a", 5, 1), ("b", 5, 2), ("c", 6, 1)):
        options = replace(QUICK, seed=seed, workers=workers)
        manifest = write_bundle(tmp_path / run, train(outcomes, options), outcomes, prices, options, label)
        hashes.append({name: entry.sha256 for name, entry in manifest.files.items()})
    assert hashes[0] == hashes[1]
    assert hashes[0]["model.onnx"] != hashes[2]["model.onnx"]


def test_progress_is_called_as_often_as_announced(outcomes: Outcomes) -> None:
    calls: list[int] = []
    train(outcomes, QUICK, lambda: calls.append(1))
    assert len(calls) == QUICK.rounds(len(outcomes))


def test_lengths_that_nobody_recorded_get_the_usual_one(columns: Any, write_parquet: Any) -> None:
    del columns["out_tokens:small"]
    outcomes = read_outcomes(write_parquet(columns))
    trained = train(outcomes, QUICK)
    tokens = trained.scores(["simmer the onions", "solve the equation"], 64)[2]
    np.testing.assert_allclose(tokens[:, 0], np.nanmean(outcomes.output_tokens[:, 1]), rtol=1e-4)
    assert trained.mean_tokens[0] == 0.0


def test_without_any_length_there_is_a_default(columns: Any, write_parquet: Any) -> None:
    for name in ("small", "large"):
        del columns[f"out_tokens:{name}"]
    trained = train(read_outcomes(write_parquet(columns)), QUICK)
    np.testing.assert_allclose(trained.scores(["bake bread"], 64)[2], DEFAULT_OUTPUT_TOKENS, rtol=1e-4)


def test_needs_no_hints(columns: Any, write_parquet: Any) -> None:
    bare = {name: values for name, values in columns.items() if name == "prompt" or name.startswith("q:")}
    trained = train(read_outcomes(write_parquet(bare)), QUICK)
    assert np.isfinite(trained.scores(["bake bread"], 64)[0]).all()


def test_one_candidate_is_enough(columns: Any, write_parquet: Any) -> None:
    trained = train(read_outcomes(write_parquet(columns), ["large"]), QUICK)
    assert trained.scores(["bake bread"], 64)[0].shape == (1, 1)


def test_too_few_labels_name_the_candidate(columns: Any, write_parquet: Any) -> None:
    columns["q:small"][5:] = [None] * (len(columns["q:small"]) - 5)
    with pytest.raises(DataError, match=r"`q:small` has \d labels; at least 20"):
        train(read_outcomes(write_parquet(columns)), QUICK)


def test_too_few_different_prompts(columns: Any, write_parquet: Any) -> None:
    columns["group_id"] = ["same"] * len(columns["prompt"])
    with pytest.raises(DataError, match="1 different prompts"):
        train(read_outcomes(write_parquet(columns)), QUICK)

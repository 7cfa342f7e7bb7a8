"""Encoder routers as a whole: they learn, repeat themselves, and serve what training scored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from export.bundle import Label, write_bundle
from export.calibration import calibration_error
from export.encoder.train import EncoderOptions, TrainedEncoder
from export.holdout import hold_out
from export.outcomes import Outcomes, read_outcomes
from export.prices import Price
from export.serve import forecast_of
from sidecar.bundle.load import load
from sidecar.bundle.manifest import MODEL, MODEL_FP16, MODEL_FP32

pytestmark = [pytest.mark.encoder, pytest.mark.filterwarnings("ignore")]
LABEL = Label("tiny", "1", "made up", "none", "")
PRICES = (Price(0.1, 0.4), Price(5.0, 15.0))


@pytest.fixture(scope="module")
def bundle_path(
    trained_encoder: TrainedEncoder,
    outcomes: Outcomes,
    options: EncoderOptions,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    directory = tmp_path_factory.mktemp("encoder") / "bundle"
    write_bundle(directory, trained_encoder, outcomes, PRICES, options, LABEL)
    return directory


def _lower(outcomes: Outcomes) -> list[str]:
    return [" ".join(prompt.lower().split()) for prompt in outcomes.prompts]


def test_learns_which_candidate_fails_where(trained_encoder: TrainedEncoder, fresh_outcomes: Outcomes) -> None:
    quality, _, tokens = trained_encoder.scores(_lower(fresh_outcomes), 48)
    algebra = fresh_outcomes.segments == "algebra"
    assert quality[algebra, 0].mean() < 0.4
    assert quality[algebra, 1].mean() > 0.7
    assert quality[fresh_outcomes.segments == "cooking"].mean() > 0.7
    assert tokens[algebra].mean() == pytest.approx(150, abs=20)
    assert tokens[~algebra].mean() == pytest.approx(100, abs=20)
    assert calibration_error(quality, fresh_outcomes.quality) < 0.12


def test_what_cross_validation_expected_is_kept(trained_encoder: TrainedEncoder, outcomes: Outcomes) -> None:
    unseen = trained_encoder.unseen
    brier = float(np.nanmean((unseen.quality - outcomes.quality) ** 2))
    assert trained_encoder.metrics["cross_validated_brier"] == pytest.approx(brier, abs=1e-6)
    assert brier < 0.22
    assert unseen.output_tokens.shape == outcomes.quality.shape


@pytest.mark.parametrize("model", [MODEL, MODEL_FP16, MODEL_FP32])
def test_every_precision_serves_what_training_scored(
    bundle_path: Path, trained_encoder: TrainedEncoder, fresh_outcomes: Outcomes, model: str
) -> None:
    expected = trained_encoder.scores(_lower(fresh_outcomes), 48)
    bundle = load(bundle_path, model=model)
    texts = _lower(fresh_outcomes)
    served = [bundle.scorer(texts[at : at + 20]) for at in range(0, len(texts), 20)]
    tokens = np.concatenate([scores.output_tokens for scores in served])
    tolerance = {MODEL: 0.1, MODEL_FP16: 5e-3, MODEL_FP32: 1e-5}[model]
    np.testing.assert_allclose(tokens / expected[2].max(), expected[2] / expected[2].max(), atol=tolerance)


def test_the_manifest_says_what_lower_precision_loses(bundle_path: Path, trained_encoder: TrainedEncoder) -> None:
    manifest = load(bundle_path).manifest
    assert manifest.family == "encoder"
    assert manifest.metrics["int8_quality_loss_points"] <= 0.3
    assert manifest.metrics["fp16_quality_loss_points"] <= 0.3
    assert 0.0 < manifest.metrics["fp16_largest_difference"] < manifest.metrics["int8_largest_difference"] < 0.1
    assert set(manifest.files) == {
        *(MODEL, MODEL_FP16, MODEL_FP32, "golden.json", "golden.fp16.json", "golden.fp32.json"),
        *("tokenizer.json", "reference.npz"),
    }
    assert "Encoder router" in manifest.model_card
    assert trained_encoder.vectors.base.name in manifest.model_card


def test_full_precision_is_left_out_unless_asked_for(
    outcomes: Outcomes, options: EncoderOptions, trained_encoder: TrainedEncoder
) -> None:
    trained = replace(options, measure=False).train(outcomes, PRICES)
    assert set(trained.models) == {MODEL, MODEL_FP16}
    assert "int8_quality_loss_points" not in trained.metrics
    # Measuring changes nothing of the router.
    assert trained.models[MODEL] == trained_encoder.models[MODEL]


def test_equal_seeds_give_equal_models(
    outcomes: Outcomes, options: EncoderOptions, trained_encoder: TrainedEncoder
) -> None:
    other = replace(options, measure=False, seed=1).train(outcomes, PRICES)
    assert other.models[MODEL] != trained_encoder.models[MODEL]


def test_progress_is_called_as_often_as_announced(outcomes: Outcomes, options: EncoderOptions) -> None:
    calls: list[int] = []
    quick = replace(options, measure=False, heads=replace(options.heads, steps=3, epochs=1))
    quick.train(outcomes, PRICES, lambda: calls.append(1))
    assert len(calls) == quick.rounds(len(outcomes))


def test_prompts_unlike_the_training_data_are_novel(bundle_path: Path, fresh_outcomes: Outcomes) -> None:
    bundle = load(bundle_path)
    usual = forecast_of(bundle, fresh_outcomes.prompts).novelty
    strange = forecast_of(bundle, ["?? !! %% ?? !!", "\u4f60\u597d \u4e16\u754c"]).novelty
    assert 0.3 < usual.mean() < 0.7
    assert strange.min() > 0.9


def test_leaving_segments_out_works_for_the_family(outcomes: Outcomes, options: EncoderOptions) -> None:
    cheap = replace(options, measure=False, members=1, heads=replace(options.heads, steps=30))
    record = hold_out(outcomes, PRICES, cheap)
    assert record["per_segment"].keys() == {"cooking", "algebra", "poems"}
    assert record["prompts"] == len(outcomes)


def test_unknown_lengths_get_the_usual_one(columns: Any, write_parquet: Any, options: EncoderOptions) -> None:
    del columns["out_tokens:small"]
    outcomes = read_outcomes(write_parquet(columns))
    trained = replace(options, measure=False).train(outcomes, PRICES)
    tokens = trained.scores(["simmer the onions", "solve the equation"], 48)[2]
    np.testing.assert_allclose(tokens[:, 0], np.nanmean(outcomes.output_tokens[:, 1]), rtol=1e-4)

"""Routers whose encoder is tuned: what follows training works on the tuned weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.bundle import Label, write_bundle
from export.encoder.pooling import Pooling
from export.encoder.train import EncoderOptions, TrainedEncoder
from export.encoder.tuning import TuneSettings
from export.encoder.vectors import vectors_of
from export.errors import DataError
from export.families import training_of
from export.outcomes import Outcomes
from export.prices import Price
from export.serve import forecast_of
from sidecar.bundle.load import load
from sidecar.bundle.manifest import MODEL, MODEL_FP16, MODEL_FP32

pytestmark = [pytest.mark.encoder, pytest.mark.filterwarnings("ignore")]
PRICES = (Price(0.1, 0.4), Price(5.0, 15.0))


@pytest.fixture(scope="module")
def tune_options(options: EncoderOptions) -> EncoderOptions:
    tuning = TuneSettings(layers=1, epochs=2, batch=16, rate=2e-3, dropout=0.0)
    return replace(options, tuning=tuning, heads=replace(options.heads, steps=20))


@pytest.fixture(scope="module")
def calls() -> list[int]:
    return []


@pytest.fixture(scope="module")
def tuned(outcomes: Outcomes, tune_options: EncoderOptions, calls: list[int]) -> TrainedEncoder:
    return replace(tune_options, keep_fp32=True).train(outcomes, PRICES, lambda: calls.append(1))


@pytest.fixture(scope="module")
def bundle_path(
    tuned: TrainedEncoder, outcomes: Outcomes, tune_options: EncoderOptions, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    directory = tmp_path_factory.mktemp("tuned") / "bundle"
    write_bundle(directory, tuned, outcomes, PRICES, tune_options, Label("tiny", "1", "made up", "none", ""))
    return directory


def _lower(outcomes: Outcomes) -> list[str]:
    return [" ".join(prompt.lower().split()) for prompt in outcomes.prompts]


def test_options_reach_the_tuning() -> None:
    training = training_of("encoder", 0, {"tune_layers": 3, "tune_rate": 1e-4, "folds": 2, "tune_epochs": None})
    assert training == EncoderOptions(tuning=TuneSettings(layers=3, rate=1e-4), folds=2)
    assert training_of("encoder", 0, {"tune_layers": 0}) == EncoderOptions()


@pytest.mark.parametrize("given", [{"tune_epochs": 2}, {"tune_rate": 1e-4, "tune_layers": 0}])
def test_how_to_tune_means_nothing_without_layers(given: dict[str, float]) -> None:
    with pytest.raises(DataError, match="say how many layers with --tune-layers"):
        training_of("encoder", 0, given)


def test_held_out_prompts_say_that_it_helped(tuned: TrainedEncoder) -> None:
    figures = tuned.metrics
    assert figures["held_out_brier_after_tuning"] < figures["held_out_brier_before_tuning"]
    assert (figures["tuned_layers"], 1.0 <= figures["tuned_epochs"] <= 2.0) == (1.0, True)
    assert "its last 1 layers tuned for" in tuned.about


def test_the_base_stays_as_it_was_and_only_the_last_layer_of_the_router_differs(
    tuned: TrainedEncoder, tune_options: EncoderOptions
) -> None:
    untouched = vectors_of(tune_options.base).base.model.state_dict()
    own = tuned.router.pooling.encoder.state_dict()
    changed = {name for name, weight in own.items() if not torch.equal(weight, untouched[name])}
    assert changed
    assert all(name.startswith("encoder.layer.1.") for name in changed)


def test_progress_is_called_no_more_often_than_announced(
    tuned: TrainedEncoder, tune_options: EncoderOptions, outcomes: Outcomes, calls: list[int]
) -> None:
    skipped = (2 - int(tuned.metrics["tuned_epochs"])) * tune_options.folds
    assert tune_options.rounds(len(outcomes)) - skipped - 1 <= len(calls) <= tune_options.rounds(len(outcomes))


@pytest.mark.parametrize("model", [MODEL, MODEL_FP16, MODEL_FP32])
def test_every_precision_serves_what_training_scored(
    bundle_path: Path, tuned: TrainedEncoder, fresh_outcomes: Outcomes, model: str
) -> None:
    texts = _lower(fresh_outcomes)
    expected = tuned.scores(texts, 48)
    bundle = load(bundle_path, model=model)
    served = [bundle.scorer(texts[at : at + 20]) for at in range(0, len(texts), 20)]
    tokens = np.concatenate([scores.output_tokens for scores in served])
    tolerance = {MODEL: 0.1, MODEL_FP16: 5e-3, MODEL_FP32: 1e-5}[model]
    np.testing.assert_allclose(tokens / expected[2].max(), expected[2] / expected[2].max(), atol=tolerance)


def test_novelty_is_measured_by_the_tuned_encoder(
    bundle_path: Path, tuned: TrainedEncoder, fresh_outcomes: Outcomes
) -> None:
    bundle = load(bundle_path)
    assert 0.3 < forecast_of(bundle, fresh_outcomes.prompts).novelty.mean() < 0.7
    assert forecast_of(bundle, ["?? !! %% ?? !!"]).novelty.min() > 0.9
    assert isinstance(tuned.router.pooling, Pooling)
    assert tuned.metrics["int8_quality_loss_points"] <= 0.3


def test_where_it_helps_nobody_the_encoder_stays_frozen(outcomes: Outcomes, tune_options: EncoderOptions) -> None:
    # Large steps that still end in numbers spoil the layers.
    wild = replace(tune_options.tuning, rate=3.0, head_rate=1.0, pull=0.0, epochs=1)
    plain = replace(tune_options, measure=False)
    spoilt = replace(plain, tuning=wild).train(outcomes, PRICES)
    frozen = replace(plain, tuning=TuneSettings()).train(outcomes, PRICES)
    assert spoilt.metrics["tuned_epochs"] == spoilt.metrics["tuned_layers"] == 0.0
    assert "made the held-out Brier score no better" in spoilt.about
    assert spoilt.models[MODEL] == frozen.models[MODEL]

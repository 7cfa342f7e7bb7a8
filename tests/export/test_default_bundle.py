"""The shipped bundle's figures on the shared data sets, against what the project promises."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.choices import ground
from export.evaluate import evaluate
from export.outcomes import read_outcomes
from export.prices import read_prices
from export.robustness import PERTURBATIONS, compare
from export.serve import forecast_of
from sidecar.bundle.load import load
from sidecar.config import BUILT_IN_POLICIES

DIRECTORY = Path(__file__).resolve().parents[2] / "sidecar" / "bundles" / "default"
MEGABYTES = 1_000_000

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def judged(shared_data: Path) -> Any:
    """The bundle, the ground of routing_test, and the forecast."""
    bundle = load(DIRECTORY)
    names = [candidate.name for candidate in bundle.manifest.candidates]
    file = shared_data / "routing_test.parquet"
    outcomes = read_outcomes(file, names)
    usual = np.array([candidate.mean_output_tokens for candidate in bundle.manifest.candidates], np.float32)
    basis = ground(outcomes, read_prices(shared_data / "llms.json", names, file), usual)
    return bundle, basis, forecast_of(bundle, outcomes.prompts)


def test_was_trained_on_the_training_file(judged: Any, shared_data: Path) -> None:
    data = judged[0].manifest.training_data
    assert data.sha256 == read_outcomes(shared_data / "routing_train.parquet").sha256
    assert (data.rows, len(data.segments)) == (6427, 11)
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) < 10 * MEGABYTES


def test_cost_quality_and_calibration(judged: Any) -> None:
    _, basis, forecast = judged
    record = evaluate(basis, forecast)
    assert record["cost_ratio_at_97pct"] <= 0.30
    assert record["cost_ratio_at_best_single_quality"] <= 0.55
    assert record["max_quality"] >= 0.735
    assert record["ece"] <= 0.04


def test_novelty_is_uniform_on_known_segments(judged: Any) -> None:
    deciles = np.quantile(judged[2].novelty, np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, np.linspace(0.1, 0.9, 9), atol=0.04)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_another_dress_gets_the_same_choice(judged: Any, name: str) -> None:
    bundle, basis, forecast = judged
    rng = np.random.default_rng(0)
    other = forecast_of(bundle, [PERTURBATIONS[name](prompt, rng) for prompt in basis.outcomes.prompts])
    for terms in BUILT_IN_POLICIES.values():
        assert compare(basis, forecast, other, terms.answer_value_usd)["same_choice"] >= 0.95


def test_holds_no_prompt_of_the_data(judged: Any) -> None:
    golden = (DIRECTORY / "golden.json").read_text(encoding="utf-8").lower()
    vocabulary = (DIRECTORY / "tokenizer.json").read_text(encoding="utf-8")
    assert not any(prompt[:60].lower() in golden for prompt in judged[1].outcomes.prompts)
    assert max(len(word) for word in vocabulary.split('"')) <= 64

"""What lower precision costs, measured at equal cost."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from export.choices import Forecast, ground
from export.curve import trace
from export.encoder.precision import points_lost
from export.encoder.train import EncoderOptions
from export.errors import DataError
from export.outcomes import Outcomes
from export.prices import Price

pytestmark = [pytest.mark.encoder, pytest.mark.filterwarnings("ignore")]
PRICES = (Price(0.1, 0.4), Price(5.0, 15.0))


def _forecast(quality: np.ndarray) -> Forecast:
    rows = len(quality)
    tokens = np.full(quality.shape, 100.0, np.float32)
    return Forecast(quality, quality, tokens, np.zeros((rows, 1), np.float32), np.zeros(rows, np.float32))


def test_the_same_forecast_loses_nothing_and_a_blind_one_does(fresh_outcomes: Outcomes) -> None:
    basis = ground(fresh_outcomes, PRICES, np.full(2, 100.0, np.float32))
    seeing = _forecast(fresh_outcomes.quality * 0.8 + 0.1)
    curve = trace(basis, seeing)
    assert points_lost(basis, curve, seeing) == 0.0
    blind = _forecast(np.random.default_rng(0).permutation(seeing.quality))
    assert points_lost(basis, curve, blind) > 3.0
    assert points_lost(basis, trace(basis, blind), seeing) < -3.0


def test_a_base_that_does_not_bear_it_is_refused(
    outcomes: Outcomes, options: EncoderOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.encoder.precision.points_lost", lambda *_: 0.31)
    with pytest.raises(DataError, match=r"model.onnx loses 0.31 points of quality at equal cost; at most 0.3"):
        replace(options, heads=replace(options.heads, steps=5)).train(outcomes, PRICES)

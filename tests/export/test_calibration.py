"""Calibration: Platt's two numbers per candidate, and the error by which it is judged."""

import numpy as np
import pytest

from export.calibration import calibration_error, fit_platt
from export.network import sigmoid


def _overconfident(rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = rng.normal(0.3, 1.0, (rows, 2)).astype(np.float32)
    quality = (rng.random((rows, 2)) < sigmoid(true)).astype(np.float32)
    return (3.0 * true - 0.8).astype(np.float32), quality


def test_recovers_slope_and_intercept() -> None:
    logits, quality = _overconfident()
    slope, intercept = fit_platt(logits, quality)
    np.testing.assert_allclose(slope, 1 / 3, atol=0.04)
    np.testing.assert_allclose(intercept, 0.8 / 3, atol=0.1)


def test_improves_the_calibration_error() -> None:
    logits, quality = _overconfident()
    slope, intercept = fit_platt(logits[::2], quality[::2])
    before = calibration_error(sigmoid(logits[1::2]), quality[1::2])
    after = calibration_error(sigmoid(logits[1::2] * slope + intercept), quality[1::2])
    assert before > 0.1
    assert after < 0.03


def test_unknown_labels_change_nothing() -> None:
    logits, quality = _overconfident(200)
    known = fit_platt(logits[:150], quality[:150])
    quality[150:] = np.nan
    np.testing.assert_array_equal(fit_platt(logits, quality), known)


def test_few_labels_leave_logits_nearly_alone() -> None:
    slope, _ = fit_platt(np.array([[2.0], [-1.0]], np.float32), np.array([[1.0], [0.0]], np.float32))
    assert slope[0] == pytest.approx(1.0, abs=0.3)


def test_never_ranks_backwards() -> None:
    logits = np.linspace(-2, 2, 400, dtype=np.float32)[:, None]
    slope, _ = fit_platt(logits, (logits < 0).astype(np.float32))
    assert slope[0] == 0.0


def test_labels_all_alike_stay_finite() -> None:
    slope, intercept = fit_platt(np.full((50, 1), 4.0, np.float32), np.ones((50, 1), np.float32))
    assert np.isfinite([slope, intercept]).all()


def test_error_by_hand() -> None:
    predicted = np.array([[0.05], [0.05], [0.95], [0.95]], np.float32)
    quality = np.array([[0.0], [1.0], [1.0], [np.nan]], np.float32)
    # Two of three in a bin that is off by .45, one in a bin that is off by .05.
    assert calibration_error(predicted, quality) == pytest.approx((2 * 0.45 + 0.05) / 3, abs=1e-6)


def test_error_is_the_mean_of_the_candidates() -> None:
    predicted = np.array([[0.5, 1.0]] * 4, np.float32)
    quality = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], np.float32)
    assert calibration_error(predicted, quality) == pytest.approx((0.0 + 0.25) / 2)

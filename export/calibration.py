"""Making a predicted quality mean what it says."""

import numpy as np
from numpy.typing import NDArray

from sidecar.types import Floats

BINS = 10
# As many pseudo-labels as keep a candidate with few labels near its uncalibrated logits.
CAUTION = 10.0
_ITERATIONS = 50


def fit_platt(logits: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """Fits slope and intercept per candidate (Platt, Probabilistic Outputs for Support Vector Machines, 1999).

    Args:
        logits: [N, C] of prompts which the model was not trained on.
        quality: [N, C] in [0, 1]; NaN where unknown.

    Returns:
        slope [C] and intercept [C]; `sigmoid(slope * logit + intercept)` is calibrated.
    """
    pairs = [_fit_one(logits[:, c], quality[:, c]) for c in range(logits.shape[1])]
    slope, intercept = np.array(pairs, np.float32).T
    return slope, intercept


def _fit_one(logits: Floats, quality: Floats) -> NDArray[np.float64]:
    known = ~np.isnan(quality)
    design = np.stack([logits[known].astype(np.float64), np.ones(int(known.sum()))], axis=1)
    labels = quality[known].astype(np.float64)
    start = np.array([1.0, 0.0])
    prior = CAUTION * np.diag([0.25, 0.05])  # of Newton's matrix, so in units of labels
    found = start.copy()
    for _ in range(_ITERATIONS):
        chance = 0.5 * (1.0 + np.tanh(0.5 * design @ found))
        gradient = design.T @ (chance - labels) + prior @ (found - start)
        step = np.linalg.solve((design * (chance * (1.0 - chance))[:, None]).T @ design + prior, gradient)
        found = found - step.clip(-1.0, 1.0)
        if np.abs(step).max() < 1e-9:  # noqa: PLR2004 - far below float32
            break
    # A slope below 0 would rank prompts backwards; such a candidate's predictions are worth only their mean.
    found[0] = max(found[0], 0.0)
    return found


def calibration_error(predicted: Floats, quality: Floats) -> float:
    """Expected calibration error, averaged over the candidates.

    Ten bins of equal width, each weighing by its prompts (Guo, Pleiss, Sun, Weinberger, On Calibration of Modern
    Neural Networks, ICML 2017, equation 3).

    Args:
        predicted: [N, C].
        quality: [N, C]; NaN where unknown.
    """
    return float(np.mean([_error_of_one(predicted[:, c], quality[:, c]) for c in range(predicted.shape[1])]))


def _error_of_one(predicted: Floats, quality: Floats) -> float:
    known = ~np.isnan(quality)
    gaps = predicted[known].astype(np.float64) - quality[known]
    bins = np.minimum((predicted[known] * BINS).astype(np.int64), BINS - 1)
    return float(np.abs(np.bincount(bins, gaps, BINS)).sum() / max(len(gaps), 1))

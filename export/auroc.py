"""How well a score tells two kinds of prompts apart."""

import numpy as np

from sidecar.types import Floats


def auroc(low: Floats, high: Floats) -> float:
    """Probability that a score of `high` is above one of `low`, ties counted half.

    That is the area under the ROC curve, as the Mann-Whitney statistic (Hanley, McNeil, The Meaning and Use of the Area
    under a ROC Curve, Radiology 143, 1982).

    Args:
        low: [N] scores that should be low.
        high: [M] scores that should be high.
    """
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, side="left")
    not_above = np.searchsorted(ordered, high, side="right")
    return float((below + not_above).mean() / 2.0 / len(low))

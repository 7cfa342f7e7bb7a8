"""How far a difference of two routers would vary on other prompts of the same kind."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK = 100


class Interval(NamedTuple):
    """A mean and the bounds between which 95 % of the resampled means lie."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether zero is outside."""
        return self.low > 0.0 or self.high < 0.0


def paired(difference: NDArray[np.float64], groups: NDArray[np.int64], seed: int = 0) -> Interval:
    """Percentile interval of the mean of paired differences (Efron, Tibshirani, An Introduction to the Bootstrap, 1993).

    Whole groups are drawn, since prompts of one group are nearly the same question and tell little more than one.

    Args:
        difference: [N] of one router's figure less the other's, on the same prompt.
        groups: [N] numbers.
        seed: equal seeds give equal intervals.
    """
    _, of_row = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(of_row, difference), np.bincount(of_row).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(0, RESAMPLES, _CHUNK):
        drawn = rng.integers(len(sums), size=(_CHUNK, len(sums)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail])
    return Interval(float(difference.mean()), float(low), float(high))

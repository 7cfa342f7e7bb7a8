"""Splits that keep nearly equal prompts on one side."""

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError


def group_folds(groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """[N] number of the fold of each row; a group lies in one fold, and folds are about equally large.

    Raises:
        DataError: there are fewer groups than folds.
    """
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < count:
        raise DataError(f"the data holds {len(names)} different prompts; cross-validation needs at least {count}.")
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of = np.zeros(len(names), np.int64)
    filled = np.zeros(count, np.int64)
    for group in order:
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return fold_of[member]

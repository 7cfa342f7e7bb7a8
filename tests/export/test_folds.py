"""Folds keep a group on one side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import DataError
from export.folds import group_folds


@given(st.lists(st.integers(0, 30), min_size=40, max_size=200), st.integers(0, 5))
def test_a_group_lies_in_one_fold(groups: list[int], seed: int) -> None:
    if len(set(groups)) >= 4:
        folds = group_folds(np.array(groups), 4, seed)
        assert all(len(set(folds[np.array(groups) == group])) == 1 for group in set(groups))
        assert set(folds) == {0, 1, 2, 3}


def test_folds_are_equally_large_and_seeded() -> None:
    groups = np.repeat(np.arange(50), 2)
    folds = group_folds(groups, 5, 3)
    assert np.bincount(folds).tolist() == [20] * 5
    assert (folds == group_folds(groups, 5, 3)).all()
    assert (folds != group_folds(groups, 5, 4)).any()


def test_too_few_prompts() -> None:
    with pytest.raises(DataError, match="2 different prompts"):
        group_folds(np.array([1, 1, 2]), 3, 0)

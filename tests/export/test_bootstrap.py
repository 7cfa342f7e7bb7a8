import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.bootstrap import paired


def test_routers_that_choose_alike_differ_by_nothing_at_all() -> None:
    interval = paired(np.zeros(50), np.arange(50))
    assert interval == (0.0, 0.0, 0.0)
    assert not interval.clear


def test_its_bounds_are_those_of_the_normal_approximation_where_prompts_are_many() -> None:
    difference = np.random.default_rng(0).normal(0.1, 1.0, size=4000)
    interval = paired(difference, np.arange(4000))
    spread = 1.96 * difference.std() / np.sqrt(4000)
    assert interval.mean == pytest.approx(difference.mean())
    assert interval.low == pytest.approx(difference.mean() - spread, abs=0.004)
    assert interval.high == pytest.approx(difference.mean() + spread, abs=0.004)
    assert interval.clear


def test_prompts_that_are_repeated_within_their_group_make_nothing_surer() -> None:
    difference = np.random.default_rng(1).normal(size=200)
    once = paired(difference, np.arange(200))
    often = paired(np.repeat(difference, 9), np.repeat(np.arange(200), 9))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    by_row = paired(np.repeat(difference, 9), np.arange(1800))
    assert by_row.high - by_row.low < 0.5 * (once.high - once.low)


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 5)), min_size=1, max_size=30), st.integers(0, 3))
def test_equal_seeds_give_equal_bounds_within_the_range_of_the_data(found: list[tuple[float, int]], seed: int) -> None:
    difference, groups = np.array([d for d, _ in found]), np.array([g for _, g in found])
    interval = paired(difference, groups, seed)
    assert interval == paired(difference, groups, seed)
    assert difference.min() - 1e-9 <= interval.low <= interval.high <= difference.max() + 1e-9

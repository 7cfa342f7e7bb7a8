"""The average performance gap recovered, against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.apgr import apgr

STRONG, WEAK = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0, 0.0])


def test_by_hand() -> None:
    # Gains 1, 0, 1, 0 in this order; recovered 0, 1/2, 1/2, 1, 1 at shares 0, 1/4, ..., 1.
    assert apgr(np.array([4.0, 3.0, 2.0, 1.0]), STRONG, WEAK) == pytest.approx((0.25 + 0.5 + 0.75 + 1.0) / 4)


def test_the_best_and_the_worst_order() -> None:
    best, worst = np.array([2.0, 1.0, 3.0, 0.0]), np.array([1.0, 2.0, 0.0, 3.0])
    assert apgr(best, STRONG, WEAK) == pytest.approx(0.75)
    assert apgr(worst, STRONG, WEAK) == pytest.approx(0.25)


def test_knowing_nothing_recovers_half() -> None:
    assert apgr(np.zeros(4), STRONG, WEAK) == pytest.approx(0.5)


def test_equals_the_mean_over_random_orders_where_tied() -> None:
    preference = np.array([1.0, 1.0, 0.0, 0.0])
    orders = [[4, 3, 2, 1], [3, 4, 2, 1], [4, 3, 1, 2], [3, 4, 1, 2]]
    mean = np.mean([apgr(np.array(order, float), STRONG, WEAK) for order in orders])
    assert apgr(preference, STRONG, WEAK) == pytest.approx(mean)


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=2))
def test_reversing_the_preference_mirrors_it(rows: list[tuple[int, float, float]]) -> None:
    preference, strong, weak = (np.array(column, float) for column in zip(*rows, strict=True))
    if strong.sum() != weak.sum():
        total = apgr(preference, strong, weak) + apgr(-preference, strong, weak)
        assert total == pytest.approx(1.0)

"""Equal cost, on random outcomes and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.choices import Forecast, Ground, ground
from export.curve import trace
from export.equal_cost import best_quality, frontier, quality_at_cost
from export.prices import Price
from tests.export.test_evaluate import CLEVER, OUTCOMES, _forecast, _ground, _outcomes


def random_case(seed: int) -> tuple[Ground, Forecast]:
    rng = np.random.default_rng(seed)
    outcomes = _outcomes(rng.integers(0, 2, size=(30, 3)).astype(float).tolist(), ["s"] * 30)
    prices = [Price(0.0, price) for price in (1.0, 10.0, 100.0)]
    return ground(outcomes, prices, np.zeros(3, np.float32)), _forecast(rng.random((30, 3)).tolist())


@given(st.integers(0, 1000), st.floats(1e-5, 2e-2))
def test_more_money_is_never_worse_and_the_ends_are_those_of_the_curve(seed: int, cost: float) -> None:
    basis, forecast = random_case(seed)
    curve = trace(basis, forecast)
    less, more = (quality_at_cost(basis, forecast, curve, spent) for spent in (cost, 1.5 * cost))
    if less is None:
        assert cost < curve.cost_usd.min()
        return
    assert more is not None
    assert less.shape == (30,)
    assert less.mean() <= more.mean() + 1e-12
    reached = curve.quality[curve.cost_usd <= cost].max()
    assert reached - 1e-12 <= less.mean() <= curve.max_quality + 1e-12
    enough = quality_at_cost(basis, forecast, curve, 1.0)
    assert enough is not None
    assert (
        enough.mean() == pytest.approx(curve.max_quality) == pytest.approx(best_quality(basis, forecast, curve).mean())
    )


def test_between_two_policies_they_are_mixed_in_proportion() -> None:
    basis = _ground(OUTCOMES)
    curve = trace(basis, CLEVER)
    low, high = frontier(curve)[:2]
    quarter = (3 * curve.cost_usd[low] + curve.cost_usd[high]) / 4
    mixed = quality_at_cost(basis, CLEVER, curve, float(quarter))
    assert mixed is not None
    assert mixed.mean() == pytest.approx((3 * curve.quality[low] + curve.quality[high]) / 4)
    # The third prompt alone is worth the dear candidate; it gets it one time in four.
    np.testing.assert_allclose(mixed, [1.0, 1.0, 0.25, 0.0])


def test_below_the_cheapest_policy_there_is_no_quality() -> None:
    basis = _ground(OUTCOMES)
    assert quality_at_cost(basis, CLEVER, trace(basis, CLEVER), 1e-9) is None


@given(st.integers(0, 1000))
def test_a_frontier_rises_in_cost_and_quality_and_leaves_out_no_better_point(seed: int) -> None:
    basis, forecast = random_case(seed)
    curve = trace(basis, forecast)
    points = frontier(curve)
    assert (np.diff(curve.cost_usd[points]) > 0).all()
    assert (np.diff(curve.quality[points]) > 0).all()
    for cost, quality in zip(curve.cost_usd, curve.quality, strict=True):
        assert any(curve.cost_usd[p] <= cost and curve.quality[p] >= quality for p in points)

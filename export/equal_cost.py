"""What a router's quality is where it may spend no more than another one."""

import numpy as np

from export.choices import Forecast, Ground, Matrix
from export.curve import Curve


def frontier(curve: Curve) -> list[int]:
    """Points of a curve that no cheaper one equals or outdoes, cheapest first."""
    kept: list[int] = []
    for point in np.lexsort((-curve.quality, curve.cost_usd)).tolist():
        if not kept or curve.quality[point] > curve.quality[kept[-1]]:
            kept.append(point)
    return kept


def quality_at_cost(ground: Ground, forecast: Forecast, curve: Curve, cost_usd: float) -> Matrix | None:
    """[N] expected quality of each prompt where a call may cost so much on average.

    Between two points of the frontier the two policies are mixed by chance, so that the mean cost is met exactly; beyond
    the dearest one money is left over.

    Args:
        ground: recorded outcomes.
        forecast: what the router expects of them.
        curve: of the two.
        cost_usd: mean of a call.

    Returns:
        None if the router's cheapest policy costs more.
    """
    points = frontier(curve)
    costs = curve.cost_usd[points]
    after = int(np.searchsorted(costs, cost_usd, side="right"))
    if after == 0:
        return None
    below = _quality(ground, forecast, curve, points[after - 1])
    if after == len(points):
        return below
    share = (cost_usd - costs[after - 1]) / (costs[after] - costs[after - 1])
    mixed: Matrix = (1.0 - share) * below + share * _quality(ground, forecast, curve, points[after])
    return mixed


def best_quality(ground: Ground, forecast: Forecast, curve: Curve) -> Matrix:
    """[N] quality of each prompt under the policy of the largest mean."""
    return _quality(ground, forecast, curve, int(curve.quality.argmax()))


def _quality(ground: Ground, forecast: Forecast, curve: Curve, point: int) -> Matrix:
    chosen = ground.choose(forecast, float(curve.answer_value_usd[point]))
    return ground.quality_of(chosen).astype(np.float64)

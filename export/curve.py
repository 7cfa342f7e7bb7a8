"""The cost-quality curve of a router: what each worth of an answer buys."""

from dataclasses import dataclass

import numpy as np

from export.choices import Forecast, Ground, Matrix

# From "an answer is worth next to nothing" to "cost does not matter", twenty values per power of ten.
ANSWER_VALUES = np.logspace(-5.0, 1.0, 121)


@dataclass(frozen=True)
class Curve:
    """Mean quality and cost of what is chosen, per worth of an answer; all arrays [V].

    Attributes:
        answer_value_usd: ascending.
        quality: mean.
        cost_usd: mean of a call.
    """

    answer_value_usd: Matrix
    quality: Matrix
    cost_usd: Matrix

    @property
    def max_quality(self) -> float:
        """The best quality at any worth."""
        return float(self.quality.max())

    def cost_at(self, quality: float) -> float | None:
        """USD of the cheapest point that has this quality; None if none has."""
        reached = self.quality >= quality
        return float(self.cost_usd[reached].min()) if reached.any() else None

    def points(self) -> list[dict[str, float]]:
        """The curve as records."""
        return [
            {"answer_value_usd": float(value), "quality": float(quality), "cost_usd_per_1k": float(cost * 1000.0)}
            for value, quality, cost in zip(self.answer_value_usd, self.quality, self.cost_usd, strict=True)
        ]


def trace(ground: Ground, forecast: Forecast) -> Curve:
    """The curve of a router on recorded outcomes."""
    chosen = [ground.choose(forecast, float(value)) for value in ANSWER_VALUES]
    return Curve(
        ANSWER_VALUES,
        np.array([ground.quality_of(c).mean(dtype=np.float64) for c in chosen]),
        np.array([ground.cost_of(c).mean() for c in chosen]),
    )

"""How far predictions hold: what was measured of the callers' models against what was predicted of them.

For each model and each measure, of the pairs (measured m, predicted p) of the same request: the mean difference d = m - p, and
its 95 % interval by the normal approximation, d +- 1.96 s / sqrt(n), where s is the standard deviation of the differences
(Casella and Berger, Statistical Inference, 10.3). It takes requests to be independent: turns of one session
are less so, and the true interval is wider then. It says nothing of requests that nobody measured.
"""

import math

import msgspec

Z95 = 1.96
# With fewer the normal approximation is no good.
ENOUGH = 20
METHOD = (
    f"difference = mean of measured - predicted over the requests that were measured; interval: 95 %, normal approximation, "
    f"from {ENOUGH} requests on, requests taken as independent"
)
MEASURES = ("quality", "cost_usd", "seconds")


class Compared(msgspec.Struct, frozen=True):
    """Predictions of one measure of one model.

    Attributes:
        model: the candidate; empty: all of them together.
        measure: `quality`, `cost_usd` or `seconds`.
        requests: that were measured.
        predicted: mean.
        measured: mean.
        difference: measured - predicted.
        low: end of its 95 % interval; None where there are too few.
        high: likewise.
    """

    model: str
    measure: str
    requests: int
    predicted: float
    measured: float
    difference: float
    low: float | None
    high: float | None

    @property
    def off(self) -> bool:
        """Whether the prediction is off by more than chance explains."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high


class _Sums:
    __slots__ = ("mean", "number", "predicted", "squares")

    def __init__(self) -> None:
        self.number = 0
        self.predicted = self.mean = self.squares = 0.0

    def add(self, predicted: float, measured: float) -> None:
        # Welford's update: sums of squares of millions of nearly equal differences would cancel out.
        self.number += 1
        self.predicted += predicted
        off = measured - predicted - self.mean
        self.mean += off / self.number
        self.squares += off * (measured - predicted - self.mean)


class Trust:
    """Gathers what was measured."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], _Sums] = {}

    def add(self, model: str, measure: str, predicted: float, measured: float) -> None:
        """One request's prediction, and how it was."""
        for name in (model, ""):
            sums = self._sums.get((name, measure))
            if sums is None:
                sums = self._sums[name, measure] = _Sums()
            sums.add(predicted, measured)

    def found(self) -> list[Compared]:
        """All models together first, then each of them, by measure."""
        return [
            _compared(model, measure, self._sums[model, measure])
            for measure in MEASURES
            for model in sorted(model for model, of in self._sums if of == measure)
        ]


def _compared(model: str, measure: str, sums: _Sums) -> Compared:
    number, difference = sums.number, sums.mean
    half = Z95 * math.sqrt(sums.squares / (number - 1) / number) if number >= ENOUGH else None
    predicted = sums.predicted / number
    return Compared(
        model,
        measure,
        number,
        predicted,
        predicted + difference,
        difference,
        None if half is None else difference - half,
        None if half is None else difference + half,
    )

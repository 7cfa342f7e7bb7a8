import math
import random
import statistics

from hypothesis import given
from hypothesis import strategies as st

from sidecar.decisions.trust import ENOUGH, Trust

figures = st.floats(-100.0, 100.0)


@given(st.lists(st.tuples(figures, figures), min_size=ENOUGH, max_size=60))
def test_the_interval_is_that_of_the_mean_of_paired_differences(pairs: list[tuple[float, float]]) -> None:
    trust = Trust()
    for predicted, measured in pairs:
        trust.add("small", "quality", predicted, measured)
    together, small = trust.found()
    differences = [measured - predicted for predicted, measured in pairs]
    half = 1.96 * statistics.stdev(differences) / math.sqrt(len(pairs))
    assert (together.model, small.model, small.requests) == ("", "small", len(pairs))
    assert small.low is not None
    assert small.high is not None
    assert math.isclose(small.difference, statistics.fmean(differences), abs_tol=1e-9)
    assert math.isclose(small.predicted, statistics.fmean(p for p, _ in pairs), abs_tol=1e-9)
    assert math.isclose(small.measured, statistics.fmean(m for _, m in pairs), abs_tol=1e-9)
    assert math.isclose(small.high - small.difference, half, abs_tol=1e-6)
    assert math.isclose(small.difference - small.low, half, abs_tol=1e-6)


def test_with_too_few_there_is_no_interval_and_no_verdict() -> None:
    trust = Trust()
    for _ in range(ENOUGH - 1):
        trust.add("small", "quality", 0.0, 1.0)
    assert {(row.low, row.high, row.off) for row in trust.found()} == {(None, None, False)}
    trust.add("small", "quality", 0.0, 1.0)
    assert {(row.low, row.high, row.off) for row in trust.found()} == {(1.0, 1.0, True)}


def test_an_honest_prediction_is_rarely_called_off_and_a_wrong_one_is() -> None:
    chance = random.Random(3)
    off = 0
    for _ in range(200):
        trust = Trust()
        for _ in range(200):
            trust.add("m", "quality", 0.7, float(chance.random() < 0.7))
        off += trust.found()[0].off
    assert 2 <= off <= 25  # 5 % of 200, as it should be
    trust = Trust()
    for _ in range(400):
        trust.add("m", "quality", 0.9, float(chance.random() < 0.7))
    assert trust.found()[0].off


def test_models_and_measures_are_kept_apart() -> None:
    trust = Trust()
    trust.add("small", "quality", 0.5, 1.0)
    trust.add("large", "quality", 0.5, 0.0)
    trust.add("large", "seconds", 1.0, 3.0)
    assert [(row.model, row.measure, row.difference) for row in trust.found()] == [
        ("", "quality", 0.0),
        ("large", "quality", -0.5),
        ("small", "quality", 0.5),
        ("", "seconds", 2.0),
        ("large", "seconds", 2.0),
    ]

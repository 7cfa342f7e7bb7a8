import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.schedule import poisson


def test_the_same_seed_gives_the_same_arrivals_and_another_seed_others() -> None:
    assert np.array_equal(poisson(100, 5, 7), poisson(100, 5, 7))
    assert not np.array_equal(poisson(100, 5, 7)[:50], poisson(100, 5, 8)[:50])


def test_gaps_are_exponential_with_the_mean_of_the_rate() -> None:
    gaps = np.diff(poisson(1000, 60, 1))
    assert gaps.mean() == pytest.approx(0.001, rel=0.02)
    # An exponential distribution's deviation is its mean; its median is ln 2 of it.
    assert gaps.std() == pytest.approx(0.001, rel=0.03)
    assert np.median(gaps) == pytest.approx(0.001 * np.log(2), rel=0.03)


@given(st.floats(0.1, 5000), st.floats(0.01, 3), st.integers(0, 2**32))
def test_arrivals_ascend_from_zero_and_end_in_time(rate: float, seconds: float, seed: int) -> None:
    arrivals = poisson(rate, seconds, seed)
    assert arrivals[0] == 0.0
    assert (np.diff(arrivals) >= 0).all()
    assert arrivals[-1] < seconds


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-1, 1), (1, 0)])
def test_nonsense_is_refused(rate: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        poisson(rate, seconds, 1)

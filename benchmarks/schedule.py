"""When requests are due: seconds from the start of a run, ascending."""

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


def poisson(rate: float, seconds: float, seed: int) -> Seconds:
    """Arrivals of a Poisson process: independent exponential gaps of mean 1/rate.

    Args:
        rate: requests per second.
        seconds: arrivals after this are cut off.
        seed: the same seed gives the same arrivals.

    Returns:
        [N] with N about rate * seconds; at least one.
    """
    if not (rate > 0 and seconds > 0):
        raise ValueError(f"rate and seconds must be positive, not {rate:g} and {seconds:g}.")
    rng = np.random.default_rng([seed, round(rate * 1000)])
    expected = rate * seconds
    # Ten standard deviations above the mean: the process never ends before `seconds`.
    gaps = rng.exponential(1.0 / rate, size=int(expected + 10 * expected**0.5 + 10))
    arrivals = np.cumsum(gaps) - gaps[0]
    return np.extract(arrivals < seconds, arrivals)

"""The figure by which routers between a strong and a weak candidate are compared."""

import numpy as np
from numpy.typing import NDArray

from sidecar.types import Floats

Column = NDArray[np.float64] | Floats


def apgr(preference: Column, strong: Column, weak: Column) -> float:
    """Average performance gap recovered (Ong et al., RouteLLM: Learning to Route LLMs with Preference Data, 2024, section 2.2).

    Prompts go to the strong candidate in the order of the preference. The performance gap recovered at a share of
    strong calls is the part of the distance between weak and strong quality that is won; the result is the area under
    it over shares from 0 to 1. A router that knows nothing has 0.5. Prompts of equal preference count as if they went
    in random order.

    Args:
        preference: [N] larger goes to the strong candidate first.
        strong: [N] quality of the strong candidate.
        weak: [N] quality of the weak one.
    """
    gains = np.asarray(strong, np.float64) - weak
    _, block, sizes = np.unique(-np.asarray(preference, np.float64), return_inverse=True, return_counts=True)
    means = np.bincount(block, gains) / sizes
    recovered = np.concatenate([[0.0], np.cumsum(np.repeat(means, sizes))]) / gains.sum()
    return float((recovered[1:] + recovered[:-1]).sum() / (2.0 * len(gains)))

"""When the gateway surely lived on: what its reports prove.

A gateway that reports a call at r which was decided at d was not restarted in between, or it would have forgotten the
call. So each report proves a span of life, spans that touch are one, and what was decided within a span was remembered to
its end. Where the spans of all its calls leave a gap, it may have been restarted there and have forgotten all before.
"""

import math
from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

# Where calls come one by one, each is a span of its own.
MOST_SPANS = 256


class Reports:
    """Of one gateway, or of several that are taken for one. Times are monotonic seconds."""

    def __init__(self) -> None:
        # Disjoint; both ascend.
        self._begins: list[float] = []
        self._ends: list[float] = []

    @property
    def latest(self) -> tuple[float, float]:
        """The latest span; zeros: there is none."""
        return (self._begins[-1], self._ends[-1]) if self._ends else (0.0, 0.0)

    def add(self, decided: float, at: float) -> None:
        """A call was reported that was decided then."""
        begins, ends = self._begins, self._ends
        first, beyond = bisect_left(ends, decided), bisect_right(begins, at)
        if first < beyond:
            decided, at = min(decided, begins[first]), max(at, ends[beyond - 1])
        begins[first:beyond] = [decided]
        ends[first:beyond] = [at]
        if len(ends) > MOST_SPANS:
            del begins[0], ends[0]

    def until(self, decided: float) -> float:
        """To when a call that was decided then was surely remembered; -inf: nothing is known."""
        place = bisect_right(self._begins, decided) - 1
        return self._ends[place] if place >= 0 and self._ends[place] >= decided else -math.inf

    def all_until(self, decided: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same for many calls: [calls] of [calls]."""
        ends = np.array([-math.inf, *self._ends])[np.searchsorted(np.array(self._begins), decided, "right")]
        return np.where(ends >= decided, ends, -math.inf)

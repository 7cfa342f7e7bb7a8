"""Until when the gateway surely remembered a call: what its reports prove.

A gateway that reports a call which was decided at d' has not forgotten what came after d' either: it was not restarted in
between. So a call decided at d was remembered at the latest report of any call, of any candidate, that was decided no
later than d.
"""

import math
from bisect import bisect_right
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

# Of decisions that lie so close together one stands for all; calls before it in the same step rest on the step before.
STEP_S = 0.05
MOST_STEPS = 4096


class Reports:
    """Of one gateway, or of several that are taken for one. Times are monotonic seconds."""

    def __init__(self) -> None:
        # Both ascend: a report makes void all that were earlier and of calls decided later.
        self._decided: list[float] = []
        self._at: list[float] = []

    def add(self, decided: float, at: float) -> None:
        """A call was reported that was decided then."""
        decisions, times = self._decided, self._at
        place = bisect_right(decisions, decided)
        if place and times[place - 1] >= at:
            return  # it was known before
        void = sum(1 for _ in takewhile(lambda time: time <= at, times[place:]))
        step = place - (place > 0 and decisions[place - 1] // STEP_S == decided // STEP_S)
        decisions[step : place + void] = [decided]
        times[step : place + void] = [at]
        if len(decisions) > MOST_STEPS:
            del decisions[: MOST_STEPS // 2], times[: MOST_STEPS // 2]

    def until(self, decided: float) -> float:
        """When the gateway last remembered a call that was decided then; -inf: nothing is known."""
        place = bisect_right(self._decided, decided)
        return self._at[place - 1] if place else -math.inf

    def all_until(self, decided: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same for many calls: [calls] of [calls]."""
        places = np.searchsorted(np.array(self._decided), decided, "right")
        found: NDArray[np.float64] = np.array([-math.inf, *self._at])[places]
        return found

"""Coverage: the share of requests that the model really scored, per segment.

A router that answers with its safe candidate when it is overloaded looks healthy from outside: no errors, and latency
even improves. What tells is how many of its decisions rest on a score.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

# Segments come from callers, so their number is bounded; the rest shares one line.
MOST_SEGMENTS = 1000
OTHERS = "(others)"
# Below so many requests in the window a share says little, and no alarm is raised.
ENOUGH = 20


class Covered(NamedTuple):
    """Requests of one segment, in a window or since the start."""

    scored: int
    unscored: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.scored + self.unscored

    @property
    def share(self) -> float:
        """Of the requests that were scored; 1 if there were none."""
        return self.scored / self.total if self.total else 1.0

    def __add__(self, other: object) -> "Covered":
        if not isinstance(other, Covered):
            return NotImplemented
        return Covered(self.scored + other.scored, self.unscored + other.unscored)


class Coverage:
    """Counts requests. The transport's thread counts, any other thread may look."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}  # by segment: scored, not scored

    def scored(self, segment: str) -> None:
        """One request was scored."""
        try:
            self._counts[segment][0] += 1
        except KeyError:
            self._new(segment)[0] += 1

    def unscored(self, segment: str, requests: int = 1) -> None:
        """Requests were not: degraded, turned away, or expired while they waited."""
        try:
            self._counts[segment][1] += requests
        except KeyError:
            self._new(segment)[1] += requests

    def totals(self) -> dict[str, Covered]:
        """Since the start, by segment."""
        # The copy is atomic, unlike a walk over what grows meanwhile.
        return {segment: Covered(*counts) for segment, counts in self._counts.copy().items()}

    def _new(self, segment: str) -> list[int]:
        """The counts of a segment that has no line of its own yet, and gets one as long as there are any."""
        return self._counts.setdefault(segment if len(self._counts) < MOST_SEGMENTS else OTHERS, [0, 0])


class CoverageWindow:
    """The last so many seconds of a Coverage.

    Args:
        coverage: what is watched.
        seconds: length of the window, in ticks of about a second.
        alarm_below: a segment's share below it, over enough requests, is an alarm; 0 is never.
    """

    def __init__(self, coverage: Coverage, seconds: int, alarm_below: float) -> None:
        self._coverage = coverage
        self._alarm_below = alarm_below
        self._past: deque[dict[str, Covered]] = deque([{}], maxlen=max(1, seconds))

    def tick(self) -> dict[str, Covered]:
        """Moves on by a second; gives the requests within the window, by segment."""
        now = self._coverage.totals()
        before = self._past[0]
        self._past.append(now)
        nothing = Covered(0, 0)
        window = {
            segment: Covered(total.scored - old.scored, total.unscored - old.unscored)
            for segment, total in now.items()
            for old in (before.get(segment, nothing),)
        }
        return {segment: covered for segment, covered in window.items() if covered.total}

    def alarms(self, window: Mapping[str, Covered]) -> list[str]:
        """Segments whose coverage is too low, worst first."""
        low = [
            (covered.share, segment)
            for segment, covered in window.items()
            if covered.total >= ENOUGH and covered.share < self._alarm_below
        ]
        return [segment for _, segment in sorted(low)]

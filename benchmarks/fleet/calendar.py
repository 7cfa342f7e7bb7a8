"""What happens when, in virtual time: the heart of a discrete-event simulation."""

import heapq
from collections.abc import Callable
from itertools import count
from math import inf

Event = Callable[[], None]


class Calendar:
    """Events in the order of their times; those of one time in the order in which they were entered.

    Attributes:
        now: virtual seconds; while an event runs, its own time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Event]] = []
        self._numbers = count()

    def at(self, time: float, event: Event) -> None:
        """Enters an event; one that is due already happens next.

        Raises:
            ValueError: the time is not finite.
        """
        if not abs(time) < inf:
            raise ValueError(f"an event needs a finite time, not {time}.")
        heapq.heappush(self._events, (max(time, self.now), next(self._numbers), event))

    def after(self, seconds: float, event: Event) -> None:
        """Enters an event that happens so many seconds from now."""
        self.at(self.now + seconds, event)

    @property
    def next_time(self) -> float:
        """When the next event is due; inf if there is none."""
        return self._events[0][0] if self._events else inf

    def run(self, until: float = inf) -> None:
        """Lets everything happen that is due by then, and what follows from it; `now` is `until` afterwards."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        if until < inf:
            self.now = max(self.now, until)

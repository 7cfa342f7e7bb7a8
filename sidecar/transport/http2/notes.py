"""What strangers do, counted; the log gets a line at a time, not one for each of a thousand connections."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

# The same reason is logged again after so many seconds, with how often it came meanwhile.
QUIET_S = 30.0


class Notes:
    """Counts why connections were turned away or closed.

    Args:
        clock: monotonic seconds.

    Attributes:
        counts: by reason, since the start.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counts: dict[str, int] = {}
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}  # when a reason was logged, and its count then

    def note(self, reason: str) -> None:
        """Counts a connection that was closed for a reason; reasons are few and hold nothing that a peer sent."""
        count = self.counts[reason] = self.counts.get(reason, 0) + 1
        now = self._clock()
        at, before = self._told.get(reason, (-QUIET_S, 0))
        if now - at >= QUIET_S:
            self._told[reason] = now, count
            more = f" ({count - before} since the line before)" if before else ""
            log.warning("a connection was closed: %s%s", reason, more)

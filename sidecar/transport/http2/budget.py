"""What a peer may cost beside its calls: frames that carry nothing, resets, faults.

Each of the known floods sends frames that are cheap for the peer: SETTINGS, PING, PRIORITY, empty DATA and CONTINUATION
(CVE-2019-9512 to 9518, CVE-2024-27316), streams that are reset as soon as they are opened (CVE-2023-44487), faults
that make the server reset streams (CVE-2025-8671). A token bucket bounds them all.
"""

from sidecar.transport.http2.frames import ENHANCE_YOUR_CALM, Violation

# A client that opens a connection, sends settings and pings needs a dozen; a bad network brings a few hundred cancels.
BURST, PER_SECOND = 2000.0, 500.0
# A stream that is reset within this time of its opening was opened for nothing.
RAPID_S = 0.01
# Faults that end a stream, not the connection, count so many frames each.
FAULT_FRAMES = 20
# Window updates that a peer may send for each reply, and beyond that as other frames.
UPDATES_PER_REPLY = 4


class FrameBudget:
    """A token bucket of frames for one connection.

    Args:
        now: clock reading.
    """

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = BURST
        self._at = now

    def spend(self, now: float, kind: str, frames: int = 1) -> None:
        """Counts frames.

        Args:
            now: clock reading.
            kind: of flood that this would be, for the log.
            frames: how many.

        Raises:
            Violation: ENHANCE_YOUR_CALM, the budget is used up.
        """
        self._left = min(BURST, self._left + (now - self._at) * PER_SECOND) - frames
        self._at = now
        if self._left < 0.0:
            raise Violation(ENHANCE_YOUR_CALM, f"flood: {kind}")

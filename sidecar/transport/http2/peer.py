"""What a peer may do to a connection beside calling: settings, windows, pings, resets."""

import math
from typing import TYPE_CHECKING

from sidecar.transport.http2.budget import RAPID_S, UPDATES_PER_REPLY, FrameBudget
from sidecar.transport.http2.frames import (
    ACK,
    DEFAULT_FRAME_BYTES,
    ENABLE_PUSH,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME_BYTES,
    LARGEST_WINDOW,
    MAX_FRAME_SIZE,
    PING,
    PROTOCOL_ERROR,
    SETTING,
    SETTINGS,
    StreamError,
    Violation,
    frame,
    read_word,
)
from sidecar.transport.http2.hpack import DEFAULT_TABLE_BYTES
from sidecar.transport.http2.lifetime import ENDING, Lifetime
from sidecar.transport.http2.sender import EMPTY_TABLE

if TYPE_CHECKING:
    from sidecar.transport.http2.server import Http2Transport

PING_BYTES = 8
# Pings too close together that a client may send before it is told to go away.
PING_STRIKES = 2
# Gaps in the numbers of a peer's streams that are remembered; clients leave none.
MOST_GAPS = 64
# So many streams with something held back are looked at for the price of one frame.
BLOCKED_PER_FRAME = 64


class Peer(Lifetime):
    """The part of a connection that takes the peer's control frames.

    Attributes:
        budget: of frames that carry nothing.
    """

    __slots__ = ("_gaps", "_ping_at", "_replied_at_ping", "_strikes", "_updates", "budget")

    def __init__(self, server: "Http2Transport") -> None:
        super().__init__(server)
        self.budget = FrameBudget(self.now)
        self._gaps: list[tuple[int, int]] = []
        self._updates = self._strikes = self._replied_at_ping = 0
        self._ping_at = -math.inf

    def _count(self, kind: str, frames: int = 1) -> None:
        """Counts a frame of a kind of which some come with each reply.

        Raises:
            Violation: too many came.
        """
        self._updates += 1
        if self._updates > UPDATES_PER_REPLY * self.replied:
            self.budget.spend(self.now, kind, frames)

    def settle(self, payload: bytes) -> None:
        """Takes the peer's SETTINGS.

        Raises:
            Violation: they are none.
        """
        if len(payload) % SETTING.size:
            raise Violation(FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        widest = max((stream.window for stream in self.streams.values()), default=0)
        for name, value in SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW_SIZE:
                if value > LARGEST_WINDOW:
                    raise Violation(FLOW_CONTROL_ERROR, "an initial window beyond the largest")
                if value + widest > LARGEST_WINDOW:
                    raise Violation(FLOW_CONTROL_ERROR, "an initial window that overflows a stream's")
                self.stream_window = value
            elif name == MAX_FRAME_SIZE:
                if not DEFAULT_FRAME_BYTES <= value <= LARGEST_FRAME_BYTES:
                    raise Violation(PROTOCOL_ERROR, "a largest frame out of bounds")
                self.frame_bytes = value
            elif name == ENABLE_PUSH and value > 1:
                raise Violation(PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
            elif name == HEADER_TABLE_SIZE and value < DEFAULT_TABLE_BYTES:
                self._prefix = EMPTY_TABLE
        self.whole_bytes = -1 if self._prefix else min(self.frame_bytes, self.stream_window)
        self.write(frame(SETTINGS, ACK, 0))
        self.pump()

    def widen(self, number: int, payload: bytes) -> None:  # noqa: C901 - one rule after the other
        """Takes a WINDOW_UPDATE.

        Raises:
            Violation, StreamError: it is none, or too much.
        """
        if len(payload) != 4:  # noqa: PLR2004 - the increment
            raise Violation(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
        # Looking what may go out costs the more, the more is held back.
        self._count("WINDOW_UPDATE", 1 + len(self._blocked) // BLOCKED_PER_FRAME)
        more = read_word(payload)[0] & LARGEST_WINDOW
        if not number:
            if not more:
                raise Violation(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            if self.window + more > LARGEST_WINDOW:
                raise Violation(FLOW_CONTROL_ERROR, "a window beyond the largest")
            self.window += more
            if self._blocked:
                self.pump()
        else:
            if self.is_idle(number):
                raise Violation(PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            stream = self.streams.get(number)
            if stream is None:
                return
            if not more:
                raise StreamError(number, PROTOCOL_ERROR)
            if self.stream_window + stream.window + more > LARGEST_WINDOW:
                raise StreamError(number, FLOW_CONTROL_ERROR)
            stream.window += more
            if stream.queue:
                self.pump_one(stream)

    def abandon(self, number: int, payload: bytes) -> None:
        """Takes a RST_STREAM.

        Raises:
            Violation: it is none, or one flood of many.
        """
        if not number or self.is_idle(number):
            raise Violation(PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        if len(payload) != 4:  # noqa: PLR2004 - the code
            raise Violation(FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
        stream = self.streams.pop(number, None)
        if stream is None:
            self._count("RST_STREAM")
            return
        self._stop_timer(number)
        self._drop_queue(stream)
        stream.hang_up()
        # Where calls wait, those with a deadline are given up at it; what was read late, at once. That is no attack.
        given_up = stream.expires != math.inf and self.server.services.crowded
        if self.now - stream.opened < RAPID_S < stream.expires - self.now and not given_up:
            self.budget.spend(self.now, "rapid reset")
        if self._drain_step:
            self.leave_if_idle()

    def ping(self, flags: int, number: int, payload: bytes) -> None:
        """Takes a PING.

        Raises:
            Violation: it is none, or one of too many.
        """
        if number:
            raise Violation(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != PING_BYTES:
            raise Violation(FRAME_SIZE_ERROR, "PING of a wrong length")
        self._count("PING")
        if flags & ACK:
            if payload == ENDING:
                self._second_step()
            return
        least_s = self.server.access.limits.min_ping_seconds
        # As grpc's core: what a reply brings about, such as probes of the bandwidth, is no strike.
        if self.now - self._ping_at >= least_s or self.replied != self._replied_at_ping:
            self._strikes = 0
        elif not self.streams:
            self._strikes += 1
            if self._strikes > PING_STRIKES:
                raise Violation(ENHANCE_YOUR_CALM, "too_many_pings")
        self._ping_at, self._replied_at_ping = self.now, self.replied
        self.write(frame(PING, ACK, 0, payload))

    def peer_leaves(self, number: int, payload: bytes) -> None:
        """Takes a GOAWAY: the peer opens no more streams.

        Raises:
            Violation: it is none.
        """
        if number:
            raise Violation(PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:  # noqa: PLR2004 - last stream and code
            raise Violation(FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
        self.budget.spend(self.now, "GOAWAY")
        self.last_allowed = min(self.last_allowed, self.last)
        self._drain_step = 2
        self.leave_if_idle()

    def is_idle(self, number: int) -> bool:
        """True if the peer has not opened this stream, nor a later one; streams of ours there are none."""
        return number > self.last or not number & 1

    def skip_to(self, number: int) -> None:
        """Remembers that the numbers up to this one were never used."""
        first = self.last + 2 if self.last > 0 else 1
        if first < number and len(self._gaps) < MOST_GAPS:
            self._gaps.append((first, number))

    def was_skipped(self, number: int) -> bool:
        """True if a stream's number was left out."""
        return any(first <= number < end for first, end in self._gaps)

"""What a peer may do to a connection beside calling: settings, windows, pings, resets; and how the connection ends."""

import asyncio
import math
import random
from typing import TYPE_CHECKING, cast

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
    LARGEST_STREAM,
    LARGEST_WINDOW,
    MAX_FRAME_SIZE,
    NO_ERROR,
    PING,
    PROTOCOL_ERROR,
    SETTING,
    SETTINGS,
    StreamError,
    Violation,
    frame,
    goaway,
    read_word,
)
from sidecar.transport.http2.hpack import DEFAULT_TABLE_BYTES
from sidecar.transport.http2.sender import EMPTY_TABLE, UNREAD, Sender

if TYPE_CHECKING:
    from sidecar.transport.http2.server import Http2Transport

PING_BYTES = 8
# What may wait to be written to one connection before nothing more is read from it.
WRITE_BUFFER_BYTES = 1 << 20
# What our own pings hold: to find peers that are gone, and to learn that a peer has heard of the end.
ALIVE, ENDING = b"alive?\0\0", b"ending\0\0"
# Pings too close together that a client may send before it is told to go away.
PING_STRIKES = 2
# Gaps in the numbers of a peer's streams that are remembered; clients leave none.
MOST_GAPS = 64
# The second step of a good end comes when the peer has heard of the first, or after this time.
HEARD_S = 0.25
# A peer whose windows let nothing out for so long, though replies wait, is closed.
STARVED_S = 60.0
# A closed connection whose peer reads nothing keeps what was written last for so long.
LINGER_S = 2.0
# What is thrown away of a peer that goes on sending on a closed connection, in bytes.
LINGER_BYTES = 1 << 22
# So many streams with something held back are looked at for the price of one frame.
BLOCKED_PER_FRAME = 64
# Connections that came together must not all end together.
AGE_JITTER = 0.1


class Peer(Sender):
    """A connection's state beside its frames.

    Attributes:
        budget: of frames that carry nothing.
        now: clock reading when the latest bytes came.
        since: clock reading when it was opened.
        started: True once the peer's preface and settings have come.
        last: highest number of a stream that the peer opened.
        last_allowed: highest number that is still taken; lower than all once the connection is ending.
        cut_since: clock reading since when a frame or a header block is incomplete; 0 if none is.
        pinged: clock reading of our ping that was not answered yet; 0 if there is none.
        held: bytes of calls that wait unparsed; see Origin.
        paused: True while admission wants nothing read; see Origin.
    """

    __slots__ = (
        "_age_s", "_closed_at", "_discarded", "_drain_step", "_drain_until", "_drained_at", "_gaps", "_ping_at",
        "_replied_at_ping", "_strikes", "_updates", "budget", "cut_since", "held", "last", "last_allowed", "now", "paused",
        "pinged", "since", "started",
    )  # fmt: skip

    def __init__(self, server: "Http2Transport") -> None:
        super().__init__(server)
        self.now = self.since = now = server.clock()
        self.budget = FrameBudget(now)
        self.started = self.paused = False
        self.last, self.last_allowed = -1, LARGEST_STREAM
        self.cut_since = self.pinged = 0.0
        self.held = 0
        self._gaps: list[tuple[int, int]] = []
        self._updates = self._strikes = 0
        self._ping_at = -math.inf
        self._replied_at_ping = self._discarded = 0
        self._closed_at = 0.0
        self._drain_step, self._drained_at, self._drain_until = 0, 0.0, 0.0
        age_s = server.access.limits.max_connection_age_seconds
        self._age_s = age_s * random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER)  # noqa: S311 - no secret

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self.server.join(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.closing = True
        self.out.clear()
        self._leave_streams()
        self.server.forget(self)

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the peer does not read. Nothing is read from it either, so that it cannot make more."""
        self.choked_since = self.server.clock()
        self.pace()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.choked_since = 0.0
        self.pace()

    def pause(self) -> None:
        """See Origin."""
        self.paused = True
        self.pace()

    def resume(self) -> None:
        """See Origin."""
        self.paused = False
        self.pace()

    def pace(self) -> None:
        """Reads on, or stops reading, as everything says that bears on it."""
        if self.closing or self.transport.is_closing():
            return
        if self.paused or self.choked_since or self in self.server.held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def end(self, code: int, reason: str) -> None:
        """Ends the connection for the peer's fault."""
        if not self.closing:
            self.server.note(reason)
            if not self.started:
                self.write(self.server.greeting)
            self.write(goaway(max(self.last, 0), code, reason))
            self.close(linger=True)

    def close(self, *, linger: bool = False) -> None:
        """Closes the connection, after what was written.

        Args:
            linger: the peer may still be sending. What comes is thrown away for a while: were the socket closed at once,
                the system would answer it with a reset, and the peer would lose what it was told last.
        """
        if self.closing:
            return
        self.flush()
        self.closing = True
        self._closed_at = self.server.clock()
        self._leave_streams()
        if linger and not self.choked_since and self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
            self.transport.resume_reading()
        else:
            self.transport.close()

    def _discard(self, amount: int) -> None:
        """Throws away what comes once the connection is closed."""
        self._discarded += amount
        if self._discarded > LINGER_BYTES:
            self.transport.abort()

    @property
    def unread(self) -> int:
        """Bytes that are held because the peer reads too little or opens its windows too little."""
        return self.pending + (self.transport.get_write_buffer_size() if self.choked_since else 0)

    def _count(self, kind: str, frames: int = 1) -> None:
        """Counts a frame of a kind of which some come with each reply.

        Raises:
            Violation: too many came.
        """
        self._updates += 1
        if self._updates > UPDATES_PER_REPLY * self.replied:
            self.budget.spend(self.now, kind, frames)

    def _leave_streams(self) -> None:
        for stream in list(self.streams.values()):
            stream.hang_up()
            self._drop_queue(stream)
        self.streams.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

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

    def drain(self, until: float) -> None:
        """Ends the connection in two steps (RFC 9113, 6.8): no new streams, then, once the peer has heard of it, none at all.

        Args:
            until: clock reading at which it is closed whatever is still open.
        """
        if self.closing:
            return
        self._drain_until = min(until, self._drain_until or until)
        if self.started and not self._drain_step:
            self._drain_step, self._drained_at = 1, self.server.clock()
            self.write(goaway(LARGEST_STREAM, NO_ERROR) + frame(PING, 0, 0, ENDING))
            self.server.soon()

    def _second_step(self) -> None:
        if self._drain_step == 1:
            self._drain_step = 2
            self.last_allowed = max(self.last, 0)
            self.write(goaway(self.last_allowed, NO_ERROR))
            self.server.soon()
            self.leave_if_idle()

    def leave_if_idle(self) -> None:
        """Closes a connection that is ending, once nothing is open."""
        if self._drain_step == 2 and not self.streams:  # noqa: PLR2004 - the second step
            self.close()

    def sweep(self, now: float) -> None:
        """Looks at what only time tells; called now and then."""
        limits = self.server.access.limits
        if self.closing:
            if now - self._closed_at > LINGER_S:
                self.transport.abort()
            return
        if not self.started:
            if self._drain_until and now - max(self.since, self.now) > HEARD_S:
                self.close()
            elif now - self.since > limits.handshake_timeout_seconds:
                self.end(PROTOCOL_ERROR, "no HTTP/2 within the handshake's time")
            return
        if self.cut_since and now - self.cut_since > limits.handshake_timeout_seconds and not self.paused:
            self.end(PROTOCOL_ERROR, "a frame or a header block that does not end")
        elif self.choked_since and now - self.choked_since > limits.keepalive_timeout_seconds:
            self.server.note(UNREAD)
            self.transport.abort()
        elif self._blocked and now - self.progress > STARVED_S:
            self.end(ENHANCE_YOUR_CALM, "windows that do not open")
        else:
            self._keep_alive(now)
            self._come_of_age(now)
            for stream in [stream for stream in self.streams.values() if stream.expires <= now and not stream.ended]:
                stream.expired()

    def _keep_alive(self, now: float) -> None:
        limits = self.server.access.limits
        if self.pinged:
            if now - self.pinged > limits.keepalive_timeout_seconds:
                self.server.note("a peer that answers no ping")
                self.transport.abort()
        elif limits.keepalive_seconds and now - self.now > limits.keepalive_seconds and not self.paused:
            self.pinged = now
            self.write(frame(PING, 0, 0, ALIVE))
            self.server.soon()

    def _come_of_age(self, now: float) -> None:
        if self._age_s and not self._drain_step and now - self.since > self._age_s:
            self.drain(now + self.server.access.limits.max_connection_age_grace_seconds)
        if self._drain_step == 1 and now - self._drained_at > HEARD_S:
            self._second_step()
        if self._drain_step and self._drain_until and now > self._drain_until:
            self.close()

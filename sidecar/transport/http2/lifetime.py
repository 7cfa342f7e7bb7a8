"""How long a connection lives: what paces it, what closes it, and how it ends in good order."""

import asyncio
import random
from typing import TYPE_CHECKING, cast

from sidecar.transport.http2.frames import (
    ENHANCE_YOUR_CALM,
    LARGEST_STREAM,
    NO_ERROR,
    PING,
    PROTOCOL_ERROR,
    frame,
    goaway,
)
from sidecar.transport.http2.sender import UNREAD, Sender

if TYPE_CHECKING:
    from sidecar.transport.http2.server import Http2Transport

# What may wait to be written to one connection before nothing more is read from it.
WRITE_BUFFER_BYTES = 1 << 20
# What our own pings hold: to find peers that are gone, and to learn that a peer has heard of the end.
ALIVE, ENDING = b"alive?\0\0", b"ending\0\0"
# The second step of a good end comes when the peer has heard of the first, or after this time.
HEARD_S = 0.25
# A peer whose windows let nothing out for so long, though replies wait, is closed.
STARVED_S = 60.0
# A closed connection whose peer reads nothing keeps what was written last for so long.
LINGER_S = 2.0
# What is thrown away of a peer that goes on sending on a closed connection, in bytes.
LINGER_BYTES = 1 << 22
# Connections that came together must not all end together.
AGE_JITTER = 0.1


class Lifetime(Sender):
    """The part of a connection that begins, paces and ends it.

    Attributes:
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
        "_age_s", "_closed_at", "_discarded", "_drain_step", "_drain_until", "_drained_at", "cut_since", "held", "last",
        "last_allowed", "now", "paused", "pinged", "since", "started",
    )  # fmt: skip

    def __init__(self, server: "Http2Transport") -> None:
        super().__init__(server)
        self.now = self.since = server.clock()
        self.started = self.paused = False
        self.last, self.last_allowed = -1, LARGEST_STREAM
        self.cut_since = self.pinged = 0.0
        self.held = self._discarded = 0
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

    def _leave_streams(self) -> None:
        for stream in list(self.streams.values()):
            stream.hang_up()
            self._drop_queue(stream)
        self.streams.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

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

"""What goes out over a connection: headers, messages within the peer's windows, trailers."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from sidecar.errors import RouterError
from sidecar.transport.http2.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    NO_ERROR,
    frame,
    reset,
    window_update,
    write_word,
)
from sidecar.transport.http2.replies import ACCEPTED_ENCODINGS, HEAD_BLOCK, headers_frames, trailers_block
from sidecar.transport.http2.streams import Stream, UnknownEncoding

if TYPE_CHECKING:
    from sidecar.transport.http2.server import Http2Transport

# Errors whose trailers are kept.
MOST_TRAILERS = 512
# A dynamic table of no bytes: told where the peer allows fewer than it did (RFC 7541, 4.2).
EMPTY_TABLE = b"\x20"
# What the transport holds for a peer that does not read, in bytes; windows may be opened wide all the same.
MOST_UNREAD_BYTES = 1 << 26
UNREAD = "what was sent is not read"
# Streams that were reset here, whose frames may still be on their way.
MOST_RESETS = 1024
ENCODINGS = ((b"grpc-accept-encoding", ACCEPTED_ENCODINGS),)

_trailers: dict[RouterError, bytes] = {}


def _let_go(error: RouterError) -> None:
    """Has an error forget where it was raised: one that is kept, or raised again, would keep messages and connections."""
    error.__traceback__ = error.__context__ = None


def refusal_block(error: RouterError) -> bytes:
    """The trailers of an error; kept, since under overload one error ends thousands of calls."""
    block = _trailers.get(error)
    if block is None:
        _let_go(error)
        if len(_trailers) >= MOST_TRAILERS:
            _trailers.clear()
        block = _trailers[error] = trailers_block(error, ENCODINGS if isinstance(error, UnknownEncoding) else ())
    return block


def refusal_frame(error: RouterError) -> tuple[bytes, bytes]:
    """The frame that ends a call with an error before it has got headers: what stands before and after the stream's number."""
    found = _frames.get(error)
    if found is None:
        if len(_frames) >= MOST_TRAILERS:
            _frames.clear()
        block = HEAD_BLOCK + refusal_block(error)
        head = len(block).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS | END_STREAM))
        found = _frames[error] = head, block
    return found


_frames: dict[RouterError, tuple[bytes, bytes]] = {}


class Sender(asyncio.Protocol):
    """The sending half of a connection.

    Attributes:
        server: that the connection belongs to.
        transport: of asyncio.
        out: what goes out with the next write.
        streams: the open ones, by number.
        window: bytes that may be sent, all streams together.
        stream_window: bytes that may be sent on a new stream.
        frame_bytes: largest frame that the peer takes.
        whole_bytes: largest message that goes out in one frame without a look at its stream's window.
        pending: bytes that the windows hold back.
        replied: replies that were written, whole or in pieces.
        progress: clock reading when a window last let something out, or first held something back.
        closing: True once it is closed for reading.
        choked_since: clock reading since when the peer reads too little of what is written; 0 if it does.
    """

    __slots__ = (
        "_blocked", "_prefix", "_resets", "_timers", "choked_since", "closing", "frame_bytes", "out", "pending", "progress",
        "replied", "server", "stream_window", "streams", "transport", "whole_bytes", "window",
    )  # fmt: skip

    def __init__(self, server: "Http2Transport") -> None:
        self.server = server
        self.transport = cast("asyncio.Transport", None)
        self.out: list[bytes] = []
        self.streams: dict[int, Stream] = {}
        self.window = self.stream_window = DEFAULT_WINDOW
        self.frame_bytes = self.whole_bytes = DEFAULT_FRAME_BYTES
        self.pending = self.replied = 0
        self.progress = self.choked_since = 0.0
        self.closing = False
        self._prefix = b""
        self._blocked: dict[Stream, None] = {}  # oldest first
        self._resets: dict[int, None] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def write(self, data: bytes) -> None:
        """Has bytes go out with the next write."""
        if not self.out:
            self.server.dirty.append(self)
        self.out.append(data)

    def write_last(self, number: int, pieces: Sequence[bytes]) -> None:
        """Has the end of a stream go out with the next write."""
        out = self.out
        if not out:
            self.server.dirty.append(self)
        out += pieces
        self.replied += 1
        self.streams.pop(number, None)
        if self._timers:
            self._stop_timer(number)

    def flush(self) -> None:
        """Writes what was gathered."""
        if not self.out:
            return
        data = b"".join(self.out)
        self.out.clear()
        if self.closing or self.transport.is_closing():
            return
        self.transport.write(data)
        if self.choked_since and self.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
            self.server.note(UNREAD)
            self.transport.abort()

    def begin(self, stream: Stream) -> None:
        """Sends the headers of a reply, once."""
        if not stream.begun:
            stream.begun = True
            self._write_headers(stream.number, HEAD_BLOCK, 0)

    def send_data(self, stream: Stream, data: bytes) -> None:
        """Sends bytes of a reply as far as the windows allow; the rest follows when they open."""
        self.replied += 1
        whole = memoryview(data)  # what is cut off again and again is not copied
        if stream.queue:
            stream.queue.append(whole)
            self.pending += len(data)
            return
        rest = self._let_out(stream, whole)
        if rest:
            if stream.queue is None:
                stream.queue = deque()
            stream.queue.append(rest)
            self.pending += len(rest)
            if not self._blocked:
                self.progress = self.server.clock()
            self._blocked[stream] = None

    def send_trailers(self, stream: Stream, block: bytes) -> None:
        """Ends a stream, once all of its reply has gone out."""
        if stream.queue:
            stream.tail = block
            return
        self._write_headers(stream.number, block, END_STREAM)
        self._close(stream.number, ended=stream.ended)

    def fail(self, stream: Stream, error: RouterError) -> None:
        """Ends a stream with an error; what the windows held back is dropped."""
        _let_go(error)
        if stream.number not in self.streams:
            return
        self._drop_queue(stream)
        stream.hang_up()
        if stream.begun:
            self._write_headers(stream.number, refusal_block(error), END_STREAM)
            self._close(stream.number, ended=stream.ended)
        else:
            self.refuse(stream.number, error, ended=stream.ended)

    def refuse(self, number: int, error: RouterError, *, ended: bool) -> None:
        """Ends a call that has got no headers yet; `ended`: the peer has sent all of it."""
        if ended and not self._prefix:
            head, block = refusal_frame(error)
            if len(block) <= DEFAULT_FRAME_BYTES:
                self.write_last(number, (head, write_word(number), block))
                return
        self._write_headers(number, HEAD_BLOCK + refusal_block(error), END_STREAM)
        self._close(number, ended=ended)

    def answer(self, stream: Stream, block: bytes, body: bytes) -> None:
        """Answers a request that is no gRPC call: headers, and what body there is."""
        stream.begun = True
        self._write_headers(stream.number, block, 0 if body else END_STREAM)
        if not body:
            self._close(stream.number, ended=stream.ended)
            return
        self.send_data(stream, body)
        stream.tail = b""
        if not stream.queue:
            self._end_body(stream)

    def reset(self, number: int, code: int) -> None:
        """Resets a stream. Its frames that are still on their way will be ignored."""
        stream = self.streams.pop(number, None)
        if stream is not None:
            self._drop_queue(stream)
            stream.hang_up()
        self._stop_timer(number)
        self._remember(number)
        self.write(reset(number, code))

    def update_window(self, number: int, more: int) -> None:
        """Lets the peer send more of a stream."""
        self.write(window_update(number, more))

    def at_deadline(self, stream: Stream, delay_s: float) -> None:
        """Has a stream told when its deadline has passed."""
        self._timers[stream.number] = self.server.loop.call_later(delay_s, stream.expired)

    def pump(self) -> None:
        """Sends what the windows held back, as far as they allow now, oldest first."""
        for stream in list(self._blocked):
            if self.window <= 0:
                break
            self.pump_one(stream)

    def pump_one(self, stream: Stream) -> None:
        """Sends what the windows held back of one stream."""
        queue = stream.queue
        while queue:
            before = len(queue[0])
            rest = self._let_out(stream, queue[0])
            self.pending -= before - len(rest)
            if rest:
                queue[0] = rest
                return
            queue.popleft()
        if stream not in self._blocked:
            return
        del self._blocked[stream]
        if stream.tail == b"":
            self._end_body(stream)
        elif stream.tail is not None:
            self.send_trailers(stream, stream.tail)
        else:
            stream.drained()

    def _let_out(self, stream: Stream, data: memoryview) -> memoryview:
        """Sends as much as the windows allow; gives the rest."""
        at, size = 0, len(data)
        while at < size:
            piece = min(size - at, self.window, self.stream_window + stream.window, self.frame_bytes)
            if piece <= 0:
                break
            self.write(frame(DATA, 0, stream.number, bytes(data[at : at + piece])))
            self.window -= piece
            self.replied += 1
            stream.window -= piece
            at += piece
        if at:
            self.progress = self.server.clock()
        return data[at:]

    def _write_headers(self, number: int, block: bytes, flags: int) -> None:
        if self._prefix:
            block, self._prefix = self._prefix + block, b""
            self.whole_bytes = min(self.frame_bytes, self.stream_window)
        self.write(headers_frames(number, block, flags, self.frame_bytes))

    def _end_body(self, stream: Stream) -> None:
        self.write(frame(DATA, END_STREAM, stream.number))
        self._close(stream.number, ended=stream.ended)

    def _close(self, number: int, *, ended: bool) -> None:
        self.replied += 1
        self.streams.pop(number, None)
        self._stop_timer(number)
        if not ended:  # the rest of the request is not wanted (RFC 9113, 8.1)
            self._remember(number)
            self.write(reset(number, NO_ERROR))

    def _drop_queue(self, stream: Stream) -> None:
        if stream.queue:
            self.pending -= sum(map(len, stream.queue))
            stream.queue.clear()
        self._blocked.pop(stream, None)

    def _remember(self, number: int) -> None:
        resets = self._resets
        resets[number] = None
        if len(resets) > MOST_RESETS:
            del resets[next(iter(resets))]

    def _stop_timer(self, number: int) -> None:
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()

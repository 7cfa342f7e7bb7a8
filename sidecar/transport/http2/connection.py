"""One HTTP/2 connection (RFC 9113): what comes in.

Reading is one walk over what a `recv` brought. The two frames of a usual call, HEADERS with a block that was seen before and
DATA with one whole message, are dealt with in place; everything else has a method of its own. What is to be sent is
gathered, and goes out in one `write` when the batch is answered.
"""

import logging
from typing import TYPE_CHECKING

from sidecar.errors import RouterError, TooLarge
from sidecar.faults import place
from sidecar.lanes.lane import Hot
from sidecar.transport.http2.budget import FAULT_FRAMES
from sidecar.transport.http2.calls import UnaryCall
from sidecar.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_BYTES,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_HEAD,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INTERNAL_ERROR,
    LARGEST_STREAM,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    StreamError,
    Violation,
    read_head,
    read_word,
    write_word,
)
from sidecar.transport.http2.greeting import NotHttp2, greet
from sidecar.transport.http2.opening import SLOW_READER_BYTES, Opening, unpadded
from sidecar.transport.http2.sender import refusal_frame

if TYPE_CHECKING:
    from sidecar.transport.http2.server import Http2Transport

log = logging.getLogger(__name__)

# What a peer may send before it is told to go on, all streams together; it is told after half of it.
CONNECTION_WINDOW = 1 << 22
# What is held back for a peer that does not read, in bytes, beyond which its connection is closed.
SLOWEST_READER_BYTES = 1 << 26
# So much at once of a connection, while calls wait for their turn, is a backlog, of which only the end is fresh.
BACKLOG_BYTES, FRESH_BYTES = 24 << 10, 8 << 10
# Of DATA that comes for a stream after its end, smaller frames are counted.
FULL_FRAME_BYTES = 1 << 10


class Connection(Opening):
    """The part of a connection that reads.

    Over those that open calls (Opening), take control frames (Peer), begin and end the connection (Lifetime), and send.
    """

    __slots__ = ("_buffer", "_eaten", "_parts")

    def __init__(self, server: "Http2Transport") -> None:
        super().__init__(server)
        self._buffer = b""
        self._eaten = self._parts = 0

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        server = self.server
        self.now = server.clock()
        self.pinged = 0.0
        if self.closing:
            self._discard(len(data))
            return
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        try:
            self._read(data)
            if self._eaten > CONNECTION_WINDOW // 2:
                self.update_window(0, self._eaten)
                self._eaten = 0
            if self.pending > SLOWEST_READER_BYTES:
                self.end(ENHANCE_YOUR_CALM, "replies are not read")
        except Violation as violation:
            self.end(violation.code, violation.reason)
        except Exception as error:  # noqa: BLE001 - one connection must not end the others
            log.error("a connection failed and is closed: %s", place(error))  # noqa: TRY400 - it may quote a prompt
            self.end(INTERNAL_ERROR, "the sidecar failed")
        server.took_in(self, len(data))

    def _read(self, data: bytes) -> None:  # noqa: C901, PLR0912 - in one place, for speed
        position, size = 0, len(data)
        if not self.started:
            position = self._start(data)
            if not self.started:
                return
        streams, blocks, offer = self.streams, self._meanings.blocks, self.server.services.offer
        now, most_bytes, most_streams = self.now, self.server.whole_bytes, self.server.most_streams
        unchecked = self._may_open
        if (
            size >= BACKLOG_BYTES
            and unchecked
            and self.server.services.crowded
            and not (self._block_stream or self._prefix)
        ):
            position = self._turn_away(data, position, size - FRESH_BYTES)
        while size - position >= FRAME_HEAD:
            high, low, kind, flags, number = read_head(data, position)
            length = high << 16 | low
            start = position + FRAME_HEAD
            end = start + length
            if length > DEFAULT_FRAME_BYTES:
                raise Violation(FRAME_SIZE_ERROR, "a frame that is too large")
            if end > size:
                break
            position = end
            if kind == DATA:
                if flags == END_STREAM and not self._block_stream:
                    call = streams.get(number)
                    if (
                        call.__class__ is UnaryCall
                        and call.is_all(length)
                        and 5 <= length <= most_bytes  # noqa: PLR2004 - a message's prefix
                        and not data[start]
                        and read_word(data, start + 1)[0] == length - 5
                    ):
                        self._eaten += length
                        call.whole(data[start + 5 : end], now)
                        offer(call)
                        continue
            elif kind == HEADERS and flags == END_HEADERS and unchecked and not self._block_stream:
                meaning = blocks.get(data[start:end])
                if (
                    meaning is not None
                    and meaning.quick
                    and number > self.last
                    and number & 1
                    and number <= LARGEST_STREAM
                    and len(streams) < most_streams
                ):
                    if number != self.last + 2:
                        self.skip_to(number)
                    self.last = number
                    streams[number] = UnaryCall(self, number, meaning.entry, now + meaning.timeout_s, now)
                    continue
            self._frame(kind, flags, number & LARGEST_STREAM, data[start:end])
            if self.closing:
                return
            unchecked = self._may_open
        if position < size:
            self._buffer = data[position:]
            if not self.cut_since or (position and not self._block_stream):
                self.cut_since = now
        elif not self._block_stream:
            self.cut_since = 0.0

    def _turn_away(self, data: bytes, position: int, until: int) -> int:
        """Refuses the usual calls at the beginning of a backlog without a look at their messages; gives where it ended.

        What is read is older than what still waits in the kernel, and where that much has gathered while calls wait for
        their turn, only the end of it can be answered in time. A call that is taken costs four times as much.
        """
        blocks, streams, out = self._meanings.blocks, self.streams, self.out
        turned: dict[int, list[bytes]] = {}  # stream numbers, by method
        methods: dict[int, Hot] = {}
        while position < until:
            high, low, kind, flags, number = read_head(data, position)
            start = position + FRAME_HEAD
            end = start + (high << 16 | low)
            if (
                kind != HEADERS
                or flags != END_HEADERS
                or number != self.last + 2
                or end + FRAME_HEAD > until
                or number > LARGEST_STREAM
            ):
                break
            meaning = blocks.get(data[start:end])
            high, low, kind, flags, same = read_head(data, end)
            length = high << 16 | low
            after = end + FRAME_HEAD + length
            if (
                meaning is None
                or not meaning.quick
                or kind != DATA
                or flags != END_STREAM
                or same != number
                or length > DEFAULT_FRAME_BYTES
                or after > until
                or len(streams) >= self.server.most_streams
            ):
                break
            hot = meaning.entry.hot
            assert hot is not None  # noqa: S101 - a quick one has it
            key = id(hot)
            if key not in turned:
                turned[key], methods[key] = [], hot
            turned[key].append(write_word(number))
            self.last = number
            self._eaten += length
            position = after
        for key, numbers in turned.items():
            frame_head, block = refusal_frame(self.server.services.turn_away(methods[key], len(numbers)))
            if not out:
                self.server.dirty.append(self)
            for each in numbers:
                out += (frame_head, each, block)
            self.replied += len(numbers)
        return position

    @property
    def _may_open(self) -> bool:
        """True if a usual call may be opened without a closer look."""
        return self.last_allowed == LARGEST_STREAM and self.pending < SLOW_READER_BYTES

    def _start(self, data: bytes) -> int:
        """The preface and the first frame, which must be SETTINGS; gives where the next frame begins."""
        try:
            whole = greet(data)
        except NotHttp2 as other:
            self.server.note(f"spoke {other.spoken}" if other.answer else other.spoken)
            self.transport.write(other.answer)
            self.close(linger=True)
            return 0
        start = len(PREFACE) + FRAME_HEAD
        if whole and len(data) >= start:
            high, low, kind, flags, number = read_head(data, len(PREFACE))
            length: int = high << 16 | low
            if kind != SETTINGS or flags & ACK or number or length > DEFAULT_FRAME_BYTES:
                raise Violation(PROTOCOL_ERROR, "no SETTINGS after the preface")
            if len(data) >= start + length:
                self.started = True
                self.write(self.server.greeting)
                self.budget.spend(self.now, "SETTINGS", length // SETTING.size)
                self.settle(data[start : start + length])
                if self._drain_until:
                    self.drain(self._drain_until)
                return start + length
        self._buffer = data
        return 0

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:  # noqa: C901, PLR0912 - kind by kind
        """Deals with a frame that is not one of the two usual ones."""
        if self._block_stream and (kind != CONTINUATION or number != self._block_stream):
            raise Violation(PROTOCOL_ERROR, "a frame between those of one header block")
        try:
            if kind == DATA:
                self.take_data(flags, number, payload)
            elif kind == HEADERS:
                self._headers(flags, number, payload)
            elif kind == CONTINUATION:
                self._continuation(flags, payload)
            elif kind == WINDOW_UPDATE:
                self.widen(number, payload)
            elif kind == RST_STREAM:
                self.abandon(number, payload)
            elif kind == SETTINGS:
                self._settings(flags, number, payload)
            elif kind == PING:
                self.ping(flags, number, payload)
            elif kind == GOAWAY:
                self.peer_leaves(number, payload)
            elif kind == PUSH_PROMISE:
                raise Violation(PROTOCOL_ERROR, "PUSH_PROMISE from a client")
            else:
                self.budget.spend(self.now, "PRIORITY" if kind == PRIORITY else "unknown frames")
                if kind == PRIORITY:
                    self._priority(number, payload)
        except StreamError as error:
            self.budget.spend(self.now, "faults", 1 if error.code == REFUSED_STREAM else FAULT_FRAMES)
            self.reset(error.stream, error.code)

    def _priority(self, number: int, payload: bytes) -> None:
        if not number:
            raise Violation(PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:  # noqa: PLR2004 - dependency and weight
            code = FRAME_SIZE_ERROR
        elif read_word(payload)[0] & LARGEST_STREAM == number:
            code = PROTOCOL_ERROR
        else:
            return
        if self.is_idle(number):  # which cannot be reset
            raise Violation(code, "a wrong PRIORITY")
        raise StreamError(number, code)

    def take_data(self, flags: int, number: int, payload: bytes) -> None:
        """Takes a DATA frame that is not the whole of a usual call.

        Raises:
            Violation, StreamError: it breaks a rule.
        """
        length = len(payload)
        self._eaten += length
        if flags & PADDED:
            payload = unpadded(payload)
        ended = bool(flags & END_STREAM)
        if not payload and not ended:
            self.budget.spend(self.now, "empty DATA")
        stream = self.streams.get(number)
        if stream is None:
            self._late(number, length)
        elif stream.ended:
            raise StreamError(number, STREAM_CLOSED)
        else:
            try:
                stream.data(payload, length, ended=ended)
            except RouterError as error:
                stream.ended = ended
                self.fail(stream, error)

    def _late(self, number: int, length: int) -> None:
        """DATA of a stream that is closed, or was never opened."""
        if self.is_idle(number):
            raise Violation(PROTOCOL_ERROR, "a frame on an idle stream")
        if number not in self._resets:
            raise StreamError(number, STREAM_CLOSED)
        if length < FULL_FRAME_BYTES:  # full ones come of a large message that is not wanted
            self._count("late DATA")

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Violation(PROTOCOL_ERROR, "SETTINGS on a stream")
        self.budget.spend(self.now, "SETTINGS", len(payload) // SETTING.size or 1)
        if flags & ACK:
            if payload:
                raise Violation(FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with content")
            return
        self.settle(payload)

    def keep_parts(self, more: int) -> None:
        """Counts bytes of messages that have not come whole.

        Raises:
            TooLarge: this connection has more of them than it may.
        """
        self._parts += more
        self.server.parts += more
        if more > 0 and (self._parts > self.server.most_parts or self._is_over_its_share()):
            raise TooLarge(
                "too much of unfinished messages is held for this connection; send fewer large ones at a time."
            )

    def _is_over_its_share(self) -> bool:
        """True if all connections together hold too much, and this one more than each could."""
        server, most = self.server, self.server.most_parts_of_all
        return server.parts > most and self._parts > most // len(server.connections)

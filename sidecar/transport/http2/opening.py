"""How a call begins: its header block, which comes in one frame or in several, and what the block leads to."""

import math
from typing import TYPE_CHECKING, cast

from sidecar.errors import Overloaded, RouterError, TooLarge
from sidecar.transport.http2.calls import UnaryCall
from sidecar.transport.http2.frames import (
    COMPRESSION_ERROR,
    DEFAULT_FRAME_BYTES,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    LARGEST_STREAM,
    PADDED,
    PRIORITIZED,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    StreamError,
    Violation,
    read_word,
)
from sidecar.transport.http2.headers import Malformed, check_trailers
from sidecar.transport.http2.hpack import CompressionError
from sidecar.transport.http2.meanings import Meanings
from sidecar.transport.http2.methods import Entry
from sidecar.transport.http2.peer import Peer

if TYPE_CHECKING:
    from sidecar.transport.http2.connection import Connection
    from sidecar.transport.http2.server import Http2Transport

# CONTINUATION frames of one header block.
MOST_CONTINUATIONS = 32
# What is held back for a peer that does not read, in bytes, beyond which no call of it is taken.
SLOW_READER_BYTES = 1 << 24
SLOW_READER = Overloaded(1.0)
# A flag of our own, beyond the eight that frames have.
SELF_DEPENDENT = 0x100


def unpadded(payload: bytes) -> bytes:
    """A frame's content without its padding.

    Raises:
        Violation: the padding is longer than the frame.
    """
    if not payload or payload[0] >= len(payload):
        raise Violation(PROTOCOL_ERROR, "padding that is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


class Opening(Peer):
    """The part of a connection that takes header blocks."""

    __slots__ = ("_block", "_block_flags", "_block_stream", "_continuations", "_meanings")

    def __init__(self, server: "Http2Transport") -> None:
        super().__init__(server)
        self._meanings = Meanings(server.methods, server.access.limits.max_metadata_bytes)
        self._block = b""
        self._block_flags = self._block_stream = self._continuations = 0

    def take_data(self, flags: int, number: int, payload: bytes) -> None:
        """Takes a DATA frame."""
        raise NotImplementedError

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number:
            raise Violation(PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & PRIORITIZED:
            if len(payload) < 5:  # noqa: PLR2004 - dependency and weight
                raise Violation(FRAME_SIZE_ERROR, "HEADERS without the priority that it announces")
            # A stream that depends on itself is found out once the block is decoded: the table must stay in step.
            flags = flags if read_word(payload)[0] & LARGEST_STREAM != number else flags | SELF_DEPENDENT
            payload = payload[5:]
        if flags & END_HEADERS:
            self._open(number, payload, flags)
        else:
            self._block, self._block_stream, self._block_flags, self._continuations = payload, number, flags, 0
            self.cut_since = self.now

    def _continuation(self, flags: int, payload: bytes) -> None:
        if not self._block_stream:
            raise Violation(PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._continuations += 1
        self.budget.spend(self.now, "CONTINUATION")
        self._block += payload
        # A block that is within bounds when decoded is about as long encoded; twice that is for odd encoders.
        if (
            self._continuations > MOST_CONTINUATIONS
            or len(self._block) > 2 * self.server.access.limits.max_metadata_bytes + DEFAULT_FRAME_BYTES
        ):
            raise Violation(ENHANCE_YOUR_CALM, "flood: CONTINUATION")
        if flags & END_HEADERS:
            number, block, self._block = self._block_stream, self._block, b""
            self._block_stream = 0
            self.cut_since = 0.0
            self._open(number, block, self._block_flags)

    def _open(self, number: int, block: bytes, flags: int) -> None:  # noqa: C901, PLR0912 - rule by rule
        """A whole header block: a new call, or the trailers of one."""
        known = self._meanings.blocks.get(block)  # a block that was kept changes no table
        try:
            headers = () if known else self._meanings.decode(block)
        except CompressionError:
            raise Violation(COMPRESSION_ERROR, "a header block that is no HPACK") from None
        ended = bool(flags & END_STREAM)
        stream = self.streams.get(number)
        if stream is not None:
            if stream.ended:
                raise StreamError(number, STREAM_CLOSED)
            try:
                check_trailers(headers or ())
                ended = ended and known is None
            except Malformed:
                ended = False
            if not ended or flags & SELF_DEPENDENT:
                raise StreamError(number, PROTOCOL_ERROR)
            self.take_data(END_STREAM, number, b"")
            return
        if not number & 1:
            raise Violation(PROTOCOL_ERROR, "a stream with an even number")
        if number <= self.last:
            if number in self._resets:
                self._count("late HEADERS")
                return
            code = PROTOCOL_ERROR if self.was_skipped(number) else STREAM_CLOSED
            raise Violation(code, "HEADERS on a closed stream")
        if number != self.last + 2:
            self.skip_to(number)
        self.last = number
        if number > self.last_allowed:
            self._remember(number)  # the connection is ending: the peer will send it elsewhere
            return
        if flags & SELF_DEPENDENT:
            raise StreamError(number, PROTOCOL_ERROR)
        if len(self.streams) >= self.server.most_streams:
            raise StreamError(number, REFUSED_STREAM)
        if headers is None:
            most = self.server.access.limits.max_metadata_bytes
            self.refuse(number, TooLarge(f"metadata: more than {most} bytes of headers; send less."), ended=ended)
            return
        try:
            meaning = known or self._meanings.of(block, headers)
        except Malformed:
            raise StreamError(number, PROTOCOL_ERROR) from None
        self._begin_call(number, meaning.entry, meaning.timeout_s, ended=ended)

    def _begin_call(self, number: int, entry: Entry, timeout_s: float, *, ended: bool) -> None:
        refusal = entry.refusal
        if refusal is None and entry.admit is not None:
            refusal = entry.admit(entry.metadata)
        if refusal is None and self.pending >= SLOW_READER_BYTES:
            refusal = SLOW_READER
        if refusal is not None or entry.open is None:
            self.refuse(number, cast("RouterError", refusal), ended=ended)
            return
        stream = entry.open(cast("Connection", self), number, entry, self.now + timeout_s, self.now)
        self.streams[number] = stream
        if timeout_s != math.inf and entry.open is not UnaryCall:
            self.at_deadline(stream, timeout_s)
        if ended:
            self.take_data(END_STREAM, number, b"")

"""One stream of a connection: how a call's messages come in piece by piece, and how its replies go out."""

import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.errors import InvalidRequest, RouterError, TooLarge, Unimplemented
from sidecar.transport.http2.frames import FLOW_CONTROL_ERROR, PROTOCOL_ERROR, StreamError, read_word
from sidecar.transport.http2.replies import ACCEPTED_ENCODINGS

if TYPE_CHECKING:
    from sidecar.transport.http2.connection import Connection
    from sidecar.transport.http2.methods import Entry

# Bytes in front of each message: a flag and the length.
MESSAGE_HEAD = 5
# What a peer may send of one stream before it is told to go on.
STREAM_WINDOW = 1 << 18
GZIP_BITS, DEFLATE_BITS = 31, 15
PACKINGS = {b"gzip": GZIP_BITS, b"deflate": DEFLATE_BITS}


class UnknownEncoding(Unimplemented):
    """A compression that is not served; the reply names those that are."""


def unpacked(message: bytes, encoding: bytes, most: int) -> bytes:
    """A compressed message, unpacked.

    Args:
        message: as it came.
        encoding: of the call (`grpc-encoding`).
        most: bytes that it may have.

    Raises:
        TooLarge: it has more.
        UnknownEncoding: it is not one that is served.
        RouterError: it is not packed so.
    """
    if not encoding or encoding == b"identity":
        raise RouterError("the message is marked as compressed, but grpc-encoding names no compression; name it.")
    bits = PACKINGS.get(encoding)
    if bits is None:
        raise UnknownEncoding(
            f"grpc-encoding {encoding[:32].decode('latin-1')!r} is not served: send one of "
            f"{ACCEPTED_ENCODINGS.decode()}."
        )
    unpacker = zlib.decompressobj(bits)
    try:
        content = unpacker.decompress(message, most + 1)
    except zlib.error:
        raise RouterError(f"the message is not {encoding.decode()}: it is cut off or was packed differently.") from None
    if len(content) > most:
        raise TooLarge(f"the message has more than {most} bytes unpacked; send less in one message.")
    if not unpacker.eof:
        raise RouterError(f"the message is not {encoding.decode()}: it is cut off or was packed differently.")
    return content


class Stream:
    """A stream.

    Args:
        connection: that it belongs to.
        number: of the stream.
        entry: the method that is called.
        now: clock reading.

    Attributes:
        gone: True once the peer reset it, or the connection is lost.
        ended: True once the peer has sent all.
        begun: True once the reply's headers were sent.
        expires: clock reading of the call's deadline; inf if it has none.
        window: what may be sent beyond the connection's initial window for streams, in bytes; may be negative.
        queue: what the windows hold back, oldest first.
        tail: the trailers that follow it; None while more may come.
    """

    __slots__ = (
        "_body", "_granted", "_kept", "_parts", "_received", "begun", "connection", "ended", "entry", "expires", "gone",
        "number", "opened", "queue", "tail", "window",
    )  # fmt: skip

    def __init__(self, connection: "Connection", number: int, entry: "Entry", expires: float, now: float) -> None:
        self.connection = connection
        self.number = number
        self.entry = entry
        self.expires = expires
        self.opened = now
        self.gone = self.ended = self.begun = False
        self.window = 0
        self.queue: deque[memoryview] | None = None
        self.tail: bytes | None = None
        self._parts: bytearray | None = None
        self._received = self._kept = self._body = 0
        self._granted = STREAM_WINDOW

    def message(self, raw: bytes) -> None:
        """Takes a whole message."""
        raise NotImplementedError

    def finish(self) -> None:
        """The peer has sent all."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """The peer is gone, or does not want the reply any more."""
        self.gone = True
        self.forget()

    def expired(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def may_read_on(self) -> bool:
        """True if the peer may be told to send more."""
        return True

    def drained(self) -> None:
        """The windows let out all that was held back."""

    def data(self, payload: bytes, length: int, *, ended: bool) -> None:  # noqa: C901 - one rule after the other
        """Takes a DATA frame.

        Args:
            payload: without padding.
            length: that counts for flow control.
            ended: the peer has sent all.

        Raises:
            StreamError: flow control or the promised length is broken.
            RouterError: the message is too large or wrongly packed.
        """
        self._received += length
        if self._received > self._granted:
            raise StreamError(self.number, FLOW_CONTROL_ERROR)
        if self.entry.length is not None:
            self.keep_promise(self.entry.length, len(payload), ended=ended)
        parts = self._parts
        if parts is None:
            parts = self._parts = bytearray()
        parts += payload
        self.keep(len(payload))
        while len(parts) >= MESSAGE_HEAD:
            size = read_word(parts, 1)[0]
            if size > self.connection.server.access.max_message_bytes:
                raise too_large(size, self.connection.server.access.max_message_bytes)
            whole = MESSAGE_HEAD + size
            if len(parts) < whole:
                self._grant(whole - len(parts))
                break
            packed, raw = parts[0], bytes(parts[MESSAGE_HEAD:whole])
            del parts[:whole]
            self.keep(-whole)
            if packed == 1:
                raw = self._unpacked(raw)
            elif packed:
                raise RouterError("the message's first byte is neither 0 nor 1; send messages with gRPC's prefix.")
            self.message(raw)
            if self.gone:
                return
        if ended:
            self.ended = True
            if parts:
                raise InvalidRequest("the call ended within a message; send messages whole.")
            self.forget()
            self.finish()
        else:
            self.grant()

    def keep_promise(self, length: int, more: int, *, ended: bool) -> None:
        """Compares what came of the body with the length that the headers told; padding is no part of it.

        Raises:
            StreamError: it is more, or less at the end.
        """
        self._body += more
        if self._body > length or (ended and self._body != length):
            raise StreamError(self.number, PROTOCOL_ERROR)

    def grant(self) -> None:
        """Lets the peer send on, unless enough of its messages wait."""
        if self._granted - self._received < STREAM_WINDOW // 2 and self.may_read_on():
            self._grant(STREAM_WINDOW)

    def _grant(self, needed: int) -> None:
        """Lets the peer send `needed` bytes from now on."""
        more = needed - (self._granted - self._received)
        if more > 0:
            self._granted += more
            self.connection.update_window(self.number, more)

    def keep(self, more: int) -> None:
        """Counts bytes that are held until the peer sends on; negative once they are not.

        Raises:
            TooLarge: the connection, or all of them, hold too many.
        """
        self._kept += more
        self.connection.keep_parts(more)

    def forget(self) -> None:
        """Drops the beginning of a message; nothing of this stream is held for its peer's sake any more."""
        if self._kept:
            self.connection.keep_parts(-self._kept)
            self._kept = 0
        self._parts = None

    def _unpacked(self, message: bytes) -> bytes:
        """A compressed message, unpacked.

        Raises:
            RouterError: it cannot be unpacked, or too much was since the last batch: a kilobyte can become a megabyte.
        """
        server = self.connection.server
        if server.unpacked > server.most_unpacked:
            raise TooLarge("too much came compressed at once; send fewer large messages at a time.")
        content = unpacked(message, self.entry.encoding, server.access.max_message_bytes)
        server.unpacked += len(content)
        return content

    def _later(self, then: Callable[[], None]) -> Callable[[], None]:
        """A function that any thread may call, once, and that has the transport's thread do `then`."""
        return self.connection.server.from_any_thread(then)

    def waker(self) -> Callable[[], None]:
        """See batching.Caller."""
        return self._later(self.connection.server.soon)

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        """See batching.Caller."""
        server = self.connection.server

        def do() -> None:
            then()
            server.soon()

        return self._later(do)


def too_large(size: int, most: int) -> RouterError:
    """The refusal of a message that is over the limit."""
    return TooLarge(f"the message has {size} bytes; send at most {most} in one message.")

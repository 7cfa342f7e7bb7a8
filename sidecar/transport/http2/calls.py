"""The calls of hot methods: one message and one reply, or many of both in order. They are what admission holds."""

from collections import deque
from typing import TYPE_CHECKING

from sidecar.errors import Expired, RouterError, Unimplemented
from sidecar.lanes.lane import Encoded, Hot
from sidecar.transport.http2.frames import write_word
from sidecar.transport.http2.replies import HEAD_BLOCK, OK_BLOCK
from sidecar.transport.http2.streams import MESSAGE_HEAD, STREAM_WINDOW, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.transport.http2.connection import Connection
    from sidecar.transport.http2.methods import Entry

# Messages of one stream that may wait for their answers; beyond it the peer is not told to send on.
STREAM_MESSAGES = 256
NO_MESSAGE = Unimplemented("the call ended without a request message.")
ONE_MESSAGE = RouterError("the method takes one message; send further ones in calls of their own.")
EXPIRED = Expired("the deadline passed before the call was whole; give it a longer one.")
# A reply in one piece: HEADERS, DATA, and HEADERS that end the stream; the stream's number stands in between.
HEAD_FRAME = len(HEAD_BLOCK).to_bytes(3, "big") + b"\x01\x04"
TAIL_FRAME = len(OK_BLOCK).to_bytes(3, "big") + b"\x01\x05"


def framed(message: bytes) -> bytes:
    """A message with gRPC's prefix."""
    return b"\0" + write_word(len(message)) + message


class UnaryCall(Stream):
    """One message, one reply.

    Attributes:
        method: what is called.
        raw: the message.
        since: clock reading when it had come.
    """

    __slots__ = ("_whole", "method", "raw", "since")

    def __init__(self, connection: "Connection", number: int, entry: "Entry", expires: float, now: float) -> None:
        # As Stream does, without a second call: this is done for each request.
        self.connection = connection
        self.number = number
        self.entry = entry
        self.expires = expires
        self.opened = self.since = now
        self.gone = self.ended = self.begun = self._whole = False
        self.window = self._received = self._kept = self._body = 0
        self.queue = self.tail = self._parts = None
        self._granted = STREAM_WINDOW
        self.method: Hot = entry.hot  # type: ignore[assignment]  # an entry of this kind has one
        self.raw = b""

    @property
    def origin(self) -> "Connection":
        """See Waiting."""
        return self.connection

    def is_all(self, length: int) -> bool:
        """True if a DATA frame of so many bytes may be the whole of the body; of a call that has ended it is not."""
        promised = self.entry.length
        return not self._received and not self.ended and (promised is None or promised == length)

    def whole(self, raw: bytes, now: float) -> None:
        """Takes the message and the end of the call, which came in one frame."""
        self.raw = raw
        self.since = now
        self.ended = self._whole = True

    def message(self, raw: bytes) -> None:
        """See Stream."""
        if self._whole:
            raise ONE_MESSAGE
        self.raw = raw
        self._whole = True
        self.keep(len(raw))  # until the call has ended

    def finish(self) -> None:
        """See Stream."""
        if not self._whole:
            raise NO_MESSAGE
        self.forget()  # admission has bounds of its own
        self.since = self.connection.now
        self.connection.server.services.offer(self)

    def expired(self) -> None:
        """See Stream. A whole message is in the hands of admission and batcher, which look at the deadline."""
        if not self.ended:
            self.connection.fail(self, EXPIRED)

    def reply(self, encoded: Encoded) -> None:
        """Ends the call with its answer."""
        if self.gone:
            return
        connection, number = self.connection, self.number
        if type(encoded) is not bytes:
            connection.refuse(number, encoded, ended=self.ended)  # type: ignore[arg-type]  # it is the error
            return
        size = len(encoded) + MESSAGE_HEAD
        if size <= connection.whole_bytes and size <= connection.window:
            connection.window -= size
            stream = write_word(number)
            connection.write_last(
                number,
                (
                    HEAD_FRAME, stream, HEAD_BLOCK, size.to_bytes(3, "big"), b"\0\0", stream, b"\0",
                    write_word(size - MESSAGE_HEAD), encoded, TAIL_FRAME, stream, OK_BLOCK,
                ),
            )  # fmt: skip
            return
        connection.begin(self)
        connection.send_data(self, framed(encoded))
        connection.send_trailers(self, OK_BLOCK)


class _Slot:
    """One message of a stream, and the place of its answer among the others."""

    __slots__ = ("_stream", "answer", "raw", "since")

    def __init__(self, stream: "StreamCall", raw: bytes, since: float) -> None:
        self._stream = stream
        self.raw = raw
        self.since = since
        self.answer: bytes | None = None

    @property
    def method(self) -> Hot:
        hot = self._stream.entry.hot
        assert hot is not None  # noqa: S101 - an entry of this kind has one
        return hot

    @property
    def origin(self) -> "Connection":
        return self._stream.connection

    @property
    def expires(self) -> float:
        return self._stream.expires

    @property
    def gone(self) -> bool:
        return self._stream.gone

    def reply(self, encoded: Encoded) -> None:
        assert isinstance(encoded, bytes)  # noqa: S101 - errors in a stream are messages
        self.answer = encoded
        self.raw = b""
        self._stream.send()

    def waker(self) -> "Callable[[], None]":
        return self._stream.waker()

    def resume(self, then: "Callable[[], None]") -> "Callable[[], None]":
        return self._stream.resume(then)


class StreamCall(Stream):
    """Many messages, each with its reply, in order. What waits is bounded in messages and bytes."""

    __slots__ = ("_slots",)

    def __init__(self, connection: "Connection", number: int, entry: "Entry", expires: float, now: float) -> None:
        super().__init__(connection, number, entry, expires, now)
        self._slots: deque[_Slot] = deque()  # what came and is not yet written

    def message(self, raw: bytes) -> None:
        """See Stream."""
        slot = _Slot(self, raw, self.connection.now)
        self._slots.append(slot)
        self.connection.server.services.offer(slot)

    def may_read_on(self) -> bool:
        """See Stream."""
        return len(self._slots) < STREAM_MESSAGES and not self.queue

    def finish(self) -> None:
        """See Stream."""
        self.send()

    def send(self) -> None:
        """Sends the answers that are there, in order; then the end, if that has come."""
        if self.gone:
            return
        slots, connection = self._slots, self.connection
        while slots and (answer := slots[0].answer) is not None:
            slots.popleft()
            connection.begin(self)
            connection.send_data(self, framed(answer))
        if self.ended:
            if not slots and not self.queue:
                connection.begin(self)
                connection.send_trailers(self, OK_BLOCK)
        else:
            self.grant()

    def drained(self) -> None:
        """See Stream."""
        self.send()

    def expired(self) -> None:
        """See Stream."""
        if not self.gone:
            self.connection.fail(self, EXPIRED)

"""The calls of the fast lane: what is received and sent in each, operation by operation. Both are Callers (see batching)."""

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from sidecar.errors import RouterError
from sidecar.lanes.lane import Deliver, Encoded, Take, status_of, trailers
from sidecar.lanes.private import cygrpc

# Messages of one stream that may wait for their answers; beyond it the stream is not read, and flow control holds it.
STREAM_WINDOW = 256
# A call without a deadline has one in the far future.
FOREVER = 1e10
OK = 0
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
NO_MESSAGE = b"the call ended without a request message."


class Loop(Protocol):
    """Who polls the completion queue."""

    def start_batch(self, call: Any, operations: tuple[Any, ...], tag: Callable[[Any], None], /) -> None:
        """Starts operations on a call; `tag(event)` is called when they are done."""
        ...

    def resume(self, call: Any, then: Callable[[], None] | None = None, /) -> Callable[[], None]:
        """A function that any thread may call, once; the loop does `then`, or flushes. The call must not be over before."""
        ...

    def served(self, seconds: float, /) -> None:
        """Hears what a call with a deadline needed, from its acceptance to its reply."""
        ...


def refuse(loop: Loop, call: Any, error: RouterError) -> None:
    """Ends a call that has only begun."""
    operations = (
        cygrpc.ReceiveCloseOnServerOperation(0),
        cygrpc.SendInitialMetadataOperation(None, 0),
        cygrpc.SendStatusFromServerOperation(None, status_of(error).value[0], str(error).encode(), 0),
    )
    loop.start_batch(call, operations, _done)


def _done(_event: Any) -> None:
    """The tag of operations that nobody waits for."""


class UnaryCall:
    """One call of a unary method: receive a message, reply, done. A Caller (see batching)."""

    __slots__ = ("_accepted", "_call", "_loop", "_take", "_watched", "expires", "gone")

    def __init__(self, loop: Loop, call: Any, take: Take, expires: float) -> None:
        self._loop = loop
        self._call = call
        self._take = take
        self._watched = False
        self._accepted = time.perf_counter()
        self.gone = False
        self.expires = expires if expires < FOREVER else math.inf
        loop.start_batch(call, (cygrpc.ReceiveMessageOperation(0),), self._received)

    def must_wait(self) -> None:
        """See batching.Caller."""
        if not self._watched:
            self._watched = True
            self._loop.start_batch(self._call, (cygrpc.ReceiveCloseOnServerOperation(0),), self._closed)

    def waker(self) -> Callable[[], None]:
        """See batching.Caller."""
        return self._loop.resume(self._call)

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        """See batching.Caller."""
        return self._loop.resume(self._call, then)

    def _closed(self, event: Any) -> None:
        self.gone = event.batch_operations[0].cancelled()

    def _received(self, event: Any) -> None:
        raw = event.batch_operations[0].message()
        if raw is None:
            self._finish(UNIMPLEMENTED, NO_MESSAGE, None)
        else:
            self._take(raw, _reply, self, self)

    def reply(self, encoded: Encoded) -> None:
        """Ends the call with its answer."""
        if isinstance(encoded, bytes):
            operations: tuple[Any, ...] = (
                cygrpc.SendInitialMetadataOperation(None, 0),
                cygrpc.SendMessageOperation(encoded, 0),
                cygrpc.SendStatusFromServerOperation(None, OK, b"", 0),
            )
            self._send(operations)
            if self.expires != math.inf:
                self._loop.served(time.perf_counter() - self._accepted)
        else:
            self._finish(status_of(encoded).value[0], str(encoded).encode(), trailers(encoded))

    def _finish(self, code: int, details: bytes, metadata: Any) -> None:
        status = cygrpc.SendStatusFromServerOperation(metadata, code, details, 0)
        self._send((cygrpc.SendInitialMetadataOperation(None, 0), status))

    def _send(self, operations: tuple[Any, ...]) -> None:
        if not self._watched:
            operations = (cygrpc.ReceiveCloseOnServerOperation(0), *operations)
        self._loop.start_batch(self._call, operations, _done)


_reply: Deliver = lambda unary, encoded: unary.reply(encoded)  # noqa: E731 - typed as what it is


class _Slot:
    """The place of one answer in a stream."""

    __slots__ = ("_stream", "answer")

    def __init__(self, stream: "StreamCall") -> None:
        self._stream = stream
        self.answer: bytes | None = None

    def fill(self, encoded: Encoded) -> None:
        assert isinstance(encoded, bytes)  # noqa: S101 - stream errors are messages
        self.answer = encoded
        self._stream.send()


_fill: Deliver = lambda slot, encoded: slot.fill(encoded)  # noqa: E731 - typed as what it is


class StreamCall:
    """One call of a streaming method: read ahead within a window, write replies in order. A Caller (see batching)."""

    __slots__ = (
        "_call",
        "_closed",
        "_finished",
        "_loop",
        "_outbox",
        "_reading",
        "_sending",
        "_take",
        "expires",
        "gone",
    )

    def __init__(self, loop: Loop, call: Any, take: Take, expires: float) -> None:
        self._loop = loop
        self._call = call
        self._take = take
        self._outbox: deque[_Slot] = deque()  # what was read and is not yet written
        self._reading = self._sending = self._closed = self._finished = False
        self.gone = False
        self.expires = expires if expires < FOREVER else math.inf
        loop.start_batch(call, (cygrpc.ReceiveCloseOnServerOperation(0),), self._ended)
        loop.start_batch(call, (cygrpc.SendInitialMetadataOperation(None, 0),), _done)
        self._read()

    def must_wait(self) -> None:
        """Streams always know whether their caller is there."""

    def waker(self) -> Callable[[], None]:
        """See batching.Caller."""
        return self._loop.resume(self._call)

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        """See batching.Caller."""
        return self._loop.resume(self._call, then)

    def _read(self) -> None:
        self._reading = True
        self._loop.start_batch(self._call, (cygrpc.ReceiveMessageOperation(0),), self._received)

    def _received(self, event: Any) -> None:
        self._reading = False
        raw = event.batch_operations[0].message()
        if raw is None:
            self._closed = True
            self._finish_if_answered()
            return
        slot = _Slot(self)
        self._outbox.append(slot)
        self._take(raw, _fill, slot, self)
        self._read_if_room()

    def _read_if_room(self) -> None:
        if not (self._reading or self._closed) and len(self._outbox) < STREAM_WINDOW:
            self._read()

    def send(self) -> None:
        """Writes the next answer, if it is there and none is on its way."""
        if self._outbox and not self._sending and (answer := self._outbox[0].answer) is not None:
            self._sending = True
            self._loop.start_batch(self._call, (cygrpc.SendMessageOperation(answer, 0),), self._sent)

    def _sent(self, event: Any) -> None:
        self._sending = False
        if not event.success:  # the caller is gone
            self._outbox.clear()
            self._closed = self.gone = True
            return
        self._outbox.popleft()
        self.send()
        self._read_if_room()
        self._finish_if_answered()

    def _finish_if_answered(self) -> None:
        if self._closed and not self._outbox and not self._finished:
            self._finished = True
            status = cygrpc.SendStatusFromServerOperation(None, OK, b"", 0)
            self._loop.start_batch(self._call, (status,), _done)

    def _ended(self, event: Any) -> None:
        self._closed = True
        self.gone = event.batch_operations[0].cancelled()

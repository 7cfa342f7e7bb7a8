"""The calls of rare methods: their work is done by other threads, so that the hot ones need not wait for it."""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sidecar.errors import RouterError, TooMany
from sidecar.faults import place
from sidecar.lanes.lane import Cold, Encoded, Watch
from sidecar.transport.http2.calls import EXPIRED, NO_MESSAGE, ONE_MESSAGE, STREAM_MESSAGES, framed
from sidecar.transport.http2.replies import OK_BLOCK
from sidecar.transport.http2.streams import Stream
from sidecar.transport.slots import Slots

if TYPE_CHECKING:
    from sidecar.transport.http2.connection import Connection
    from sidecar.transport.http2.methods import Entry, Open

log = logging.getLogger(__name__)

# Messages of a conversation that may wait. A window's worth of tiny ones is more.
MOST_WAITING = 4 * STREAM_MESSAGES
TOO_FAST = TooMany(f"{MOST_WAITING} messages of this call wait; read the replies before sending more.")


class Rare(NamedTuple):
    """A rare method.

    Attributes:
        open: makes the stream of a call.
        check: which tokens may call it: those of the method's role, any, or also calls without a token.
    """

    open: "Open"
    check: Literal["role", "any", "none"]


class RareCall(Stream):
    """One message; what happens then is for the kinds of call to say."""

    __slots__ = ("_raw",)

    def __init__(self, connection: "Connection", number: int, entry: "Entry", expires: float, now: float) -> None:
        super().__init__(connection, number, entry, expires, now)
        self._raw: bytes | None = None

    def message(self, raw: bytes) -> None:
        """See Stream."""
        if self._raw is not None:
            raise ONE_MESSAGE
        self._raw = raw
        self.keep(len(raw))  # until the call has ended

    def finish(self) -> None:
        """See Stream."""
        if self._raw is None:
            raise NO_MESSAGE
        self.start(self._raw)

    def start(self, raw: bytes) -> None:
        """Does what the call asks for."""
        raise NotImplementedError

    def expired(self) -> None:
        """See Stream."""
        self.end(EXPIRED)

    def send(self, message: bytes) -> None:
        """Sends one message."""
        self.connection.begin(self)
        self.connection.send_data(self, framed(message))
        self.connection.server.soon()

    def end(self, error: RouterError | None = None) -> None:
        """Ends the call."""
        if self.gone:
            return
        connection = self.connection
        if error is None:
            connection.begin(self)
            connection.send_trailers(self, OK_BLOCK)
        else:
            connection.fail(self, error)
        connection.server.soon()

    def do(self, work: Callable[..., Any], *arguments: Any, then: Callable[[Any], None]) -> None:
        """Has another thread work; `then` gets what it returns, in the transport's thread. What it raises ends the call."""
        server = self.connection.server

        def done(future: Any) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                then(future.result())
            elif isinstance(error, RouterError):
                self.end(error)
            else:
                log.error("a call of a rare method failed: %s", place(error))
                self.end(RouterError("the sidecar failed to answer; its log says why."))

        server.loop.run_in_executor(server.pool, work, *arguments).add_done_callback(done)


def cold(answer: Cold) -> Rare:
    """A method of one reply."""

    class ColdCall(RareCall):
        __slots__ = ()

        def start(self, raw: bytes) -> None:
            self.do(answer, raw, then=self._answered)

        def _answered(self, reply: Encoded) -> None:
            if not self.gone:
                assert isinstance(reply, bytes)  # noqa: S101 - errors are raised
                self.send(reply)
                self.end()

    return Rare(ColdCall, "role")


def watch(replies: Watch, slots: Slots) -> Rare:  # noqa: C901 - a class within
    """A method of many replies. Each call holds a thread, so few may be open."""

    class WatchCall(RareCall):
        __slots__ = ("_held", "_pulling", "_replies")

        def __init__(self, connection: "Connection", number: int, entry: "Entry", expires: float, now: float) -> None:
            super().__init__(connection, number, entry, expires, now)
            self._held = ExitStack()
            self._pulling = False

        def start(self, raw: bytes) -> None:
            try:
                self._held.enter_context(slots.taken())
            except RouterError as error:
                self.end(error)
                return
            self._replies = replies(raw, self._here)
            self._pull()

        def _here(self) -> bool:
            return not self.gone

        def _pull(self) -> None:
            self._pulling = True
            self.do(self._next, then=self._pulled)

        def _next(self) -> bytes | None:
            try:
                return next(self._replies, None)
            except BaseException:
                self._held.close()
                raise

        def _pulled(self, reply: bytes | None) -> None:
            self._pulling = False
            if self.gone or reply is None:
                self._held.close()
                self.end()
                return
            self.send(reply)
            if not self.queue:
                self._pull()

        def drained(self) -> None:
            self._pull()

        def hang_up(self) -> None:
            super().hang_up()
            if not self._pulling:  # else the thread that looks for the next reply is waited for
                self._held.close()

    return Rare(WatchCall, "role")


def conversation(answer: Cold) -> Rare:  # noqa: C901 - a class within
    """A method of many messages, each with its reply."""

    class ConversationCall(RareCall):
        __slots__ = ("_busy", "_waiting")

        def __init__(self, connection: "Connection", number: int, entry: "Entry", expires: float, now: float) -> None:
            super().__init__(connection, number, entry, expires, now)
            self._waiting: deque[bytes] = deque()
            self._busy = False

        def message(self, raw: bytes) -> None:
            if len(self._waiting) >= MOST_WAITING:
                raise TOO_FAST
            self._waiting.append(raw)
            self._go_on()

        def may_read_on(self) -> bool:
            return len(self._waiting) < STREAM_MESSAGES

        def finish(self) -> None:
            self._go_on()

        def drained(self) -> None:
            self._go_on()

        def _go_on(self) -> None:
            if self._busy or self.queue or self.gone:
                return
            if self._waiting:
                self._busy = True
                self.do(answer, self._waiting.popleft(), then=self._answered)
            elif self.ended:
                self.end()

        def _answered(self, reply: bytes) -> None:
            self._busy = False
            if not self.gone:
                self.send(reply)
                if not self.ended:
                    self.grant()
                self._go_on()

    return Rare(ConversationCall, "any")

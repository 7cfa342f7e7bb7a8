"""An HTTP/2 transport without sockets, threads and time: the test is the network, the loop and the clock."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, cast

from benchmarks.http2 import PREFACE, settings
from sidecar.door.settings import LimitsConfig
from sidecar.errors import InvalidRequest, Overloaded, RouterError
from sidecar.lanes.health import Health
from sidecar.lanes.lane import Call, Cold, Hot, Watch
from sidecar.transport.http2.connection import Connection
from sidecar.transport.http2.lifetime import WRITE_BUFFER_BYTES
from sidecar.transport.http2.notes import Notes
from sidecar.transport.http2.server import Http2Transport
from sidecar.transport.transport import Access

UNARY, STREAM, COLD, WATCH = "/test.Test/Unary", "/test.Test/Stream", "/test.Test/Cold", "/test.Test/Watch"
FAILING, ODD_TEXT = "/test.Test/Failing", "100 % of é and \n, but ~ stays"
HEALTH_WATCH, REFLECTION = "/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
TURNED_AWAY = Overloaded(0.5)
MOST_MESSAGE = 1 << 20
MOST_REPLY = 1 << 22
SIZE = 4  # bytes in front of a message, which say how long its reply is
WATCHED = 3  # replies of a watch


def wanted(size: int, content: bytes = b"") -> bytes:
    """A message whose reply has so many bytes."""
    return size.to_bytes(SIZE, "big") + content


def reply_to(raw: bytes) -> bytes:
    """The reply that a message wants; it differs with the message."""
    size = min(int.from_bytes(raw[:SIZE], "big"), MOST_REPLY)
    pattern = raw[SIZE:] + b"."
    return (pattern * (size // len(pattern) + 1))[:size]


def _fail(_raw: bytes) -> bytes:
    raise InvalidRequest(ODD_TEXT)


class Echo:
    """Services that answer each message with `reply_to`.

    Attributes:
        busy: nothing is answered for now.
        crowded: what it tells of itself.
        offered: calls that were taken, ever.
        turned_away: calls that were refused unread, ever.
    """

    def __init__(self) -> None:
        hot = Hot(lambda *_: None, lambda _raw: "")
        self.unary: Mapping[str, Hot] = {UNARY: hot}
        self.streams: Mapping[str, Hot] = {STREAM: hot}
        self.cold: Mapping[str, Cold] = {COLD: reply_to, FAILING: _fail}
        self.watches: Mapping[str, Watch] = {WATCH: lambda raw, _here: iter([reply_to(raw)] * WATCHED)}
        self.busy = self.crowded = False
        self.offered = self.turned_away = 0
        self.calls: deque[Call] = deque()

    @property
    def ready(self) -> bool:
        return bool(self.calls) and not self.busy

    def turn_away(self, _method: Hot, calls: int) -> RouterError:
        self.turned_away += calls
        return TURNED_AWAY

    def offer(self, call: Call) -> None:
        self.offered += 1
        self.calls.append(call)

    def flush(self) -> None:
        while self.calls and not self.busy:
            call = self.calls.popleft()
            if not call.gone:
                call.reply(reply_to(call.raw))


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Timer:
    """A call at a time."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """As much of an event loop as the transport uses. What others would do in threads is done at once.

    Attributes:
        threads: False while no thread has time.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.timers: list[Timer] = []
        self.threads = True
        self._put_off: list[Callable[[], object]] = []
        self._soon: deque[Callable[[], object]] = deque()

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:
        self._soon.append(lambda: call(*arguments))

    call_soon_threadsafe = call_soon

    def call_later(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> Timer:
        self.timers.append(Timer(self.clock.now + delay_s, lambda: call(*arguments)))
        return self.timers[-1]

    def run_in_executor(self, _pool: object, work: Callable[..., Any], *arguments: Any) -> Any:
        loop = self

        class Later(Future[Any]):
            def add_done_callback(self, done: Callable[[Any], object]) -> None:
                super().add_done_callback(lambda future: loop.call_soon(done, future))

        future = Later()

        def do() -> None:
            try:
                future.set_result(work(*arguments))
            except Exception as error:  # noqa: BLE001 - the future holds it
                future.set_exception(error)

        if self.threads:
            do()
        else:
            self._put_off.append(do)
        return future

    def run(self) -> None:
        """Does all that is due."""
        while self.threads and self._put_off:
            self._put_off.pop(0)()
        due = [timer for timer in self.timers if timer.at <= self.clock.now]
        self.timers = [timer for timer in self.timers if timer.at > self.clock.now and not timer.cancelled]
        for timer in due:
            if not timer.cancelled:
                timer.call()
        while self._soon:
            self._soon.popleft()()


class Wire(asyncio.Transport):
    """The network between a connection and its peer.

    Attributes:
        sent: what the connection wrote and the test has not taken.
        reads: False while the connection wants nothing read.
        dead: the peer takes nothing; what is written waits in the transport.
        closed: the connection closed its end, for writing at least.
    """

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self.loop = loop
        self.sent = bytearray()
        self.reads = True
        self.dead = self.closed = self.gone = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        assert not self.closed, "written after the end"
        self.sent += data
        if self.dead and len(self.sent) > WRITE_BUFFER_BYTES:
            self.protocol.pause_writing()

    def take(self) -> bytes:
        data = bytes(self.sent)
        self.sent.clear()
        return data

    def get_write_buffer_size(self) -> int:
        return len(self.sent) if self.dead else 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == WRITE_BUFFER_BYTES

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.gone

    def close(self) -> None:
        self.closed = True
        if not self.gone:
            self.gone = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Line:
    """One connection, and the network to it."""

    def __init__(self, memory: "Memory") -> None:
        self.memory = memory
        self.connection = Connection(memory.server)
        self.wire = Wire(memory.loop)
        self.wire.protocol = self.connection
        self.connection.connection_made(self.wire)

    def send(self, data: bytes) -> bytes:
        """Has the connection get bytes, and the loop turn until nothing is to be done; gives what it answered."""
        if not self.wire.gone:
            self.connection.data_received(data)
        self.memory.loop.run()
        return b"" if self.wire.dead else self.wire.take()

    def lose(self) -> None:
        """The network fails."""
        self.wire.close()
        self.memory.loop.run()


class Memory:
    """A transport and its services.

    Attributes:
        server: the transport; not started, its loop is ours.
    """

    def __init__(self, services: Echo | None = None, *, max_message_bytes: int = MOST_MESSAGE, **limits: Any) -> None:
        self.services = services or Echo()
        self.health = Health()
        self.clock = Clock()
        self.loop = Loop(self.clock)
        self.server = Http2Transport(self.services, Access(LimitsConfig(**limits), max_message_bytes), self.health)
        self.server.loop.close()
        self.server.loop = cast("asyncio.AbstractEventLoop", self.loop)
        self.server.clock = self.clock
        self.server.notes = Notes(self.clock)
        self.server.note = self.server.notes.note
        self.health.listen(self.server._report)

    def line(self) -> Line:
        """A new connection."""
        return Line(self)

    def opened(self) -> Line:
        """A new connection whose peer has sent its preface and settings."""
        line = self.line()
        assert line.send(PREFACE + settings())
        return line

    def wait(self, seconds: float) -> None:
        """Lets time pass: timers first, then the sweep over the connections."""
        self.clock.now += seconds
        self.loop.run()
        for connection in list(self.server.connections):
            connection.sweep(self.clock.now)
        self.server._bound_unread()
        self.server.soon()
        self.loop.run()

    def left_behind(self) -> dict[str, object]:
        """What is kept for connections, by name, where it is anything."""
        kept = {
            "connections": self.server.connections,
            "parts": self.server.parts,
            "held": self.server.held | self.server._greedy,
            "watchers": self.server._watchers._calls,
            "timers": [timer for timer in self.loop.timers if not timer.cancelled],
            "dirty": [each for each in self.server.dirty if each.out],
            "calls": [call for call in self.services.calls if not call.gone],
        }
        return {name: value for name, value in kept.items() if value}


def left_on(connection: Connection) -> dict[str, object]:
    """What a closed connection still holds, by name, where it is anything."""
    kept = {
        "streams": connection.streams,
        "blocked": connection._blocked,
        "timers": connection._timers,
        "out": connection.out,
        "pending": connection.pending,
        "parts": connection._parts,
        "held": connection.held,
    }
    return {name: value for name, value in kept.items() if value}


def closed(server: Http2Transport) -> None:
    """Closes what a server that was never started holds."""
    with suppress(RuntimeError):
        server.pool.shutdown()

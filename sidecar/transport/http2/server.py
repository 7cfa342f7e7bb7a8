"""The HTTP/2 transport: one thread with one event loop accepts, reads, answers and writes.

Each turn of the loop reads what has come on all connections, answers one batch of it, and writes the replies of each connection
at once. What has arrived *is* the batch: there is no timer, and no hand-over to another thread.
"""

import asyncio
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sidecar.faults import place
from sidecar.lanes.health import HEALTH_SERVICE, REFLECTION_NAMES, Health
from sidecar.lanes.lane import Services
from sidecar.transport.http2.connection import CONNECTION_WINDOW, Connection
from sidecar.transport.http2.frames import (
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    INITIAL_WINDOW_SIZE,
    LARGEST_STREAM,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    settings,
    window_update,
)
from sidecar.transport.http2.health import HealthWatchers, health_check, health_watch
from sidecar.transport.http2.lifetime import Lifetime
from sidecar.transport.http2.listening import Handshakes, listen_on
from sidecar.transport.http2.methods import Methods
from sidecar.transport.http2.notes import Notes
from sidecar.transport.http2.rare import Rare, cold, conversation, watch
from sidecar.transport.http2.sender import UNREAD, Sender
from sidecar.transport.http2.streams import MESSAGE_HEAD, STREAM_WINDOW
from sidecar.transport.slots import COLD_THREADS, MOST_WATCHES, Slots
from sidecar.transport.transport import Access, Handover, bound

try:
    from uvloop import new_event_loop
except ImportError:  # not on every platform
    from asyncio import new_event_loop  # type: ignore[assignment]  # uvloop's loop is narrower

log = logging.getLogger(__name__)

# How often, while nothing comes, it is looked whether something is to be changed between batches.
IDLE_S = 0.02
# How often connections are looked at for what only time tells, at most and at least.
SWEEP_S, FASTEST_SWEEP_S = 1.0, 0.02
# After so much reading in one turn of the loop, and no less than the turn before took to answer, connections that brought at
# least so many bytes are held until a batch was answered. A turn without them brings a dozen batches at most.
READING_S, GREEDY_BYTES = 0.002, 1 << 14
# Connections that are accepted before other work goes on.
ACCEPTED_AT_ONCE = 64
# Of a full table of descriptors: accepting is tried again after so many seconds.
ACCEPT_AGAIN_S = 0.2
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# Unfinished messages that one connection may have, as a multiple of the largest message, and at least so many bytes; and
# all connections together.
PARTS_OF_ONE, LEAST_PARTS_OF_ONE, PARTS_OF_ALL = 2, 1 << 20, 1 << 28
# What may be unpacked of compressed messages before a batch is answered, in bytes, beside the last message.
UNPACKED_AT_ONCE = 1 << 26
# What all connections together may hold for peers that do not read, in bytes.
UNREAD_OF_ALL = 1 << 28


class Http2Transport:
    """Serves the whole port from one thread; see Transport.

    Args:
        services: what is served.
        access: how calls get in.
        health: what the health service tells.

    Attributes:
        connections: the open ones.
        dirty: connections that have something to write.
        notes: why connections were closed.
        held: connections that bring much, and are not read until a batch was answered.
        parts: bytes of messages that have not come whole, on all connections.
        unpacked: bytes of messages that came compressed since the last batch.
    """

    def __init__(self, services: Services, access: Access, health: Health) -> None:
        self.services = services
        self.access = access
        self.clock: Callable[[], float] = time.perf_counter
        self.notes = Notes(self.clock)
        self.note = self.notes.note
        self.connections: set[Lifetime] = set()
        self.dirty: list[Sender] = []
        self.most_streams = access.limits.max_concurrent_streams
        self.whole_bytes = min(DEFAULT_FRAME_BYTES, access.max_message_bytes + MESSAGE_HEAD)
        self.held: dict[Lifetime, None] = {}
        # Connections whose latest bytes were many; the one that was read last is the last, and is read last when all go on.
        self._greedy: dict[Lifetime, None] = {}
        self._reading_s = 0.0  # in this turn of the loop
        self._working_s = 0.0  # on batches, in the turn before
        self.parts = self.unpacked = 0
        self.most_parts = max(LEAST_PARTS_OF_ONE, PARTS_OF_ONE * access.max_message_bytes)
        self.most_parts_of_all = max(PARTS_OF_ALL, self.most_parts)
        self.most_unpacked = max(UNPACKED_AT_ONCE, access.max_message_bytes)
        self.greeting = settings(
            (MAX_CONCURRENT_STREAMS, self.most_streams),
            (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (MAX_HEADER_LIST_SIZE, access.limits.max_metadata_bytes),
        ) + window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW)
        self.pool = ThreadPoolExecutor(COLD_THREADS, thread_name_prefix="cold")
        self._health = health
        self._watchers = HealthWatchers()
        self.methods = Methods(services, access, self._rare())
        self._handshakes = Handshakes(access.certificates) if access.certificates else None
        self._beginning = 0  # connections whose handshake is not over
        self._adopting: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []
        self._handover: Handover | None = None
        self._due = False
        self._looks = False  # a flush is due though nothing may wait: something is to be changed between batches
        self._end_at = 0.0  # clock reading at which a drain ends; 0 if there is none
        self.loop: asyncio.AbstractEventLoop = new_event_loop()
        self.thread = threading.Thread(target=self._run, name="transport", daemon=True)

    def _rare(self) -> dict[str, Rare]:
        services, slots = self.services, Slots(MOST_WATCHES, "watches")
        served = {
            path.split("/")[1]
            for each in (services.unary, services.streams, services.cold, services.watches)
            for path in each
        }
        names = sorted({*served, HEALTH_SERVICE})

        def reflected(raw: bytes) -> bytes:
            from sidecar.transport.http2.reflection import reflect  # noqa: PLC0415 - a start does not need it

            return reflect(names, raw)

        return {
            **{path: cold(answer) for path, answer in services.cold.items()},
            **{path: watch(replies, slots) for path, replies in services.watches.items()},
            **{f"/{name}/ServerReflectionInfo": conversation(reflected) for name in REFLECTION_NAMES},
            f"/{HEALTH_SERVICE}/Check": health_check(self._health),
            f"/{HEALTH_SERVICE}/Watch": health_watch(self._health, self._watchers),
        }

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self.connections)

    @property
    def closed(self) -> Mapping[str, int]:
        """Connections that were closed for a fault of theirs, by reason, since the start."""
        return self.notes.counts.copy()

    def start(self, listen: str, listeners: Sequence[socket.socket] = (), handover: Handover | None = None) -> str:
        """See Transport."""
        self._listeners = list(listeners) or [listen_on(listen, shared=self.access.shared)]
        self._handover = handover
        for listener in self._listeners:
            listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._health.listen(self._report)
        self.thread.start()
        return bound(listen, self._listeners[0].getsockname()[1])

    def drain(self, grace: float) -> None:
        """See Transport."""
        self._health.end()
        asyncio.run_coroutine_threadsafe(self._drain(grace), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.pool.shutdown()

    def from_any_thread(self, then: Callable[[], None]) -> Callable[[], None]:
        """A function that any thread may call, once, and that has the transport's thread do `then`."""

        def do() -> None:
            with suppress(RuntimeError):  # the loop is closed: no caller waits any more
                self.loop.call_soon_threadsafe(then)

        return do

    def took_in(self, connection: Lifetime, size: int) -> None:
        """What a connection brought was read; it will be answered soon.

        Where reading takes long, connections that bring much are not read again before a batch was answered: else a
        flood of them would be read for ever (receive livelock; Mogul and Ramakrishnan, ACM TOCS 15(3), 1997).
        """
        now = self.clock()
        self._reading_s += now - connection.now
        if self._greedy:
            self._greedy.pop(connection, None)
        if size >= GREEDY_BYTES:
            self._greedy[connection] = None
        if self._reading_s > max(READING_S, self._working_s) and not self.held and self._greedy:
            self.held = self._greedy.copy()
            for each in self.held:
                each.pace()
        self.soon()

    def soon(self) -> None:
        """Has what has come answered, and what is gathered written, once all connections were read."""
        if not self._due:
            self._due = True
            self.loop.call_soon(self._work)

    def join(self, connection: Lifetime) -> None:
        """A connection is open."""
        self.connections.add(connection)
        if self._end_at:  # it came with the last that were handed over
            connection.drain(self._end_at)

    def forget(self, connection: Lifetime) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self._greedy.pop(connection, None)
        self._count()

    def _report(self, name: str, status: int) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._watchers.tell, name, status)

    def _run(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(self._failed)
        for listener in self._listeners:
            loop.add_reader(listener.fileno(), self._accept, listener)
        if self._handover is not None:
            loop.add_reader(self._handover.fileno(), self._take_over)
        self._idle()
        self._sweep()
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError):  # ssl.SSLError is one: what a stranger sent, or a network did
            self.note("the network or TLS failed")
        elif isinstance(error, BaseException):
            log.error("the transport failed on an event; it lives on: %s", place(error))

    def _work(self) -> None:
        self._due = False
        self.unpacked = 0
        services = self.services
        if services.ready or self._looks:
            self._looks = False
            # Half of the time, where there is so much to read, goes into answering.
            until = self.clock() + self._reading_s
            self._flush()
            while services.ready and self.clock() < until:
                self._write()
                self._flush()
            self._working_s = self.clock() - until + self._reading_s
        self._reading_s = 0.0
        self._write()
        if self.held:
            self.held = {}
            for each in self._greedy:
                each.pace()
        if services.ready or self.dirty:
            self.soon()

    def _write(self) -> None:
        dirty = self.dirty
        if dirty:
            self.dirty = []
            for connection in dirty:
                connection.flush()
                if connection.last_allowed != LARGEST_STREAM:  # type: ignore[attr-defined]  # it is a Lifetime
                    connection.leave_if_idle()  # type: ignore[attr-defined]

    def _flush(self) -> None:
        try:
            self.services.flush()
        except Exception as error:  # noqa: BLE001 - one batch must not end the others
            log.error("the transport failed to deliver a batch; it lives on: %s", place(error))  # noqa: TRY400

    def _idle(self) -> None:
        self._looks = True
        self.soon()
        self.loop.call_later(IDLE_S, self._idle)

    def _sweep(self) -> None:
        now = self.clock()
        for connection in list(self.connections):
            try:
                connection.sweep(now)
            except Exception as error:  # noqa: BLE001 - one connection must not end the others
                log.error("a connection failed and is closed: %s", place(error))  # noqa: TRY400 - it may quote a prompt
                connection.transport.abort()
        self._bound_unread()
        limits = self.access.limits
        spans = (limits.handshake_timeout_seconds, limits.keepalive_seconds, limits.keepalive_timeout_seconds,
                 limits.max_connection_age_seconds, limits.max_connection_age_grace_seconds)  # fmt: skip
        shortest_s = min((span for span in spans if span), default=SWEEP_S)
        self.loop.call_later(max(FASTEST_SWEEP_S, min(SWEEP_S, shortest_s / 4)), self._sweep)

    def _bound_unread(self) -> None:
        """Closes connections whose peers read least, where all together hold too much."""
        held = {connection: connection.unread for connection in self.connections}
        total = sum(held.values())
        while total > UNREAD_OF_ALL:
            worst = max(held, key=held.__getitem__)
            total -= held.pop(worst)
            self.note(UNREAD)
            worst.transport.abort()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in FULL:
                    self._rest(listener, error)
                return
            if self._handover is None or not self._handover.place(accepted, len(self.connections) + self._beginning):
                self._adopt(accepted)

    def _rest(self, listener: socket.socket, error: OSError) -> None:
        """Leaves connections in the kernel's queue for a while."""
        self.note(f"accept: {error.strerror}")
        self.loop.remove_reader(listener.fileno())

        def again() -> None:
            if not self._end_at:
                self.loop.add_reader(listener.fileno(), self._accept, listener)

        self.loop.call_later(ACCEPT_AGAIN_S, again)

    def _take_over(self) -> None:
        assert self._handover is not None  # noqa: S101 - else nothing is watched
        for accepted in self._handover.receive():
            self._adopt(accepted)

    def _adopt(self, accepted: socket.socket) -> None:
        most = self.access.limits.max_connections
        if most and len(self.connections) + self._beginning >= most:
            accepted.close()
            self.note("too many connections")
            self._count()
            return
        self._beginning += 1
        self._count()
        task = self.loop.create_task(self._begin(accepted))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _begin(self, accepted: socket.socket) -> None:
        timeout_s = self.access.limits.handshake_timeout_seconds
        try:
            accepted.setblocking(False)  # noqa: FBT003 - the socket's own signature
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = self._handshakes.context() if self._handshakes else None
            await self.loop.connect_accepted_socket(
                lambda: Connection(self),
                accepted,
                ssl=context,
                ssl_handshake_timeout=timeout_s if context else None,
            )
        except (TimeoutError, OSError, ssl.SSLError, ConnectionError):
            self.note("a TLS handshake that failed" if self._handshakes else "the network failed")
            accepted.close()
            return
        finally:
            self._beginning -= 1
            self._count()

    def _count(self) -> None:
        if self._handover is not None:
            self._handover.count(len(self.connections) + self._beginning)

    async def _drain(self, grace: float) -> None:
        for listener in self._listeners:
            self._accept(
                listener
            )  # what waits now is ended in good order; what comes later is a successor's, if there is one
            self.loop.remove_reader(listener.fileno())
            listener.close()
        if self._handover is not None:
            self.loop.remove_reader(self._handover.fileno())
            self._take_over()
            self._handover.close()
            self._handover = None
        self._end_at = until = self.clock() + grace
        for connection in list(self.connections):
            connection.drain(until)
        while (self.connections or self._adopting) and (now := self.clock()) < until:
            await asyncio.sleep(FASTEST_SWEEP_S / 4)
            for connection in list(self.connections):
                connection.sweep(now)
        for task in list(self._adopting):
            task.cancel()
        for connection in list(self.connections):
            connection.close()
        await asyncio.sleep(0)
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

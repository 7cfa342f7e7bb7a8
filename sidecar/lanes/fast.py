"""The fast lane: hot methods on a completion queue of their own, everything else on the public grpc.server, one port.

The public server spends most of a call's time in Python around the C core: locks, a thread hand-over, objects for each
call. Here one thread polls a second completion queue of the same C server, where only the hot methods arrive. Draining
the queue until it is momentarily empty *is* the batching.

This uses grpcio's private Cython layer, and only this module does. `probe` says whether the installed grpcio still has
what is needed; where it has not, the portable lane serves.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidecar.errors import RouterError
from sidecar.faults import place
from sidecar.lanes.entrance import Entrance
from sidecar.lanes.health import REFLECTED, reflection_handlers, status, statuses
from sidecar.lanes.lane import Cold, Deliver, Encoded, Services, Take, Watch, bound, status_of, trailers
from sidecar.lanes.roles import role_of

try:
    from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private, untyped
except ImportError:  # probe tells
    cygrpc = None

log = logging.getLogger(__name__)

# Versions of grpcio in which the conformance suite passed on this lane.
TESTED = ((1, 75), (1, 86))
# Calls that the core may hand over before the loop asks again; the core queues what is above.
STANDING_REQUESTS = 64
# Messages of one stream that may wait for their answers; beyond it the stream is not read, and flow control holds it.
STREAM_WINDOW = 256
# Events after which a request is answered though the queue never falls silent: a flood of calls that are refused at
# once must not keep others waiting.
MOST_EVENTS = 256
# The loop cannot be woken, so while it is idle it looks this often whether something is to be changed between batches.
IDLE_S = 0.02
# The time that a call needs is learned from so much of each new one, times a margin; see FastLane._leave.
NEED_LEARNING, NEED_MARGIN, NEED_DECAY = 0.05, 1.5, 0.995
# Only while the queue has had no silent moment for so long is anything left: else what was learned may be out of date.
BUSY_S = 0.01
COLD_THREADS = 6
# A reflection or a watch holds a thread for as long as it is open; the others are for health, Info and operations.
MOST_REFLECTIONS = 2
MOST_WATCHES = 2
# The server has stopped by then; what is left is to read the events of its calls.
JOIN_SECONDS = 5.0
OK = 0
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
# A call without a deadline has one in the far future.
FOREVER = 1e10
NO_MESSAGE = b"the call ended without a request message."


def probe() -> str:
    """Why this lane cannot be used here; empty if it can."""
    version = tuple(int(part) for part in grpc.__version__.split(".")[:2])
    if not TESTED[0] <= version < TESTED[1]:
        return f"grpcio {grpc.__version__} is outside the tested range {TESTED[0]} <= version < {TESTED[1]}"
    try:
        server = grpc.server(futures.ThreadPoolExecutor(1))
        core = server._cy_server  # type: ignore[attr-defined]  # noqa: SLF001 - the point of this module
        queue = cygrpc.CompletionQueue()
        core.register_completion_queue(queue)
        core.register_method("/probe.Probe/Probe")
        needed = (core.request_registered_call, cygrpc.Call.start_server_batch, queue.poll, queue.shutdown)
        operations = (
            cygrpc.ReceiveMessageOperation,
            cygrpc.ReceiveCloseOnServerOperation,
            cygrpc.SendInitialMetadataOperation,
            cygrpc.SendMessageOperation,
            cygrpc.SendStatusFromServerOperation,
        )
        assert all(map(callable, (*needed, *operations)))  # noqa: S101 - the probe itself
        queue.shutdown()
    except Exception as error:  # noqa: BLE001 - whatever is missing, the other lane serves
        return f"grpcio {grpc.__version__} lacks what the fast lane needs ({type(error).__name__}: {error})"
    return ""


class FastLane:
    """Serves hot methods from one thread; see Lane.

    Args:
        services: what is served.
        entrance: how calls get in.
        fault: why nothing is scored at the start; empty if scoring works.
    """

    name = "fast"

    def __init__(self, services: Services, entrance: Entrance, fault: str = "") -> None:
        self._services = services
        self._entrance = entrance
        self._batcher = services.batcher
        pool = futures.ThreadPoolExecutor(COLD_THREADS, thread_name_prefix="cold")
        self._server = grpc.server(pool, options=entrance.options)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for name, initial in statuses(fault).items():
            self._health.set(name, initial)
        handlers = entrance.guarded(reflection_handlers(_FewReflections(REFLECTED)), None, _refusal)
        self._server.add_generic_rpc_handlers(handlers)
        for path, answer in services.cold.items():
            self._add(path, grpc.unary_unary_rpc_method_handler(_cold(answer)))
        places = threading.BoundedSemaphore(MOST_WATCHES)
        for path, watch in services.watches.items():
            self._add(path, grpc.unary_stream_rpc_method_handler(_watch(watch, places)))
        self._core = self._server._cy_server  # type: ignore[attr-defined]  # noqa: SLF001 - the point of this module
        self._queue = cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        for path in (*services.unary, *services.streams):
            self._core.register_method(path)
        self._due = 0  # events that the queue owes us
        # What a call with a deadline needs from its acceptance to its reply, as measured, and a margin.
        self._need_s = 0.0
        self._silent = 0.0  # when the queue last was
        self._left: deque[tuple[float, Any]] = deque()
        self.thread = threading.Thread(target=self._serve, name="fast-lane", daemon=True)

    def _add(self, path: str, handler: Any) -> None:
        _, service, method = path.split("/")
        handlers = [grpc.method_handlers_generic_handler(service, {method: handler})]
        self._server.add_generic_rpc_handlers(self._entrance.guarded(handlers, role_of(path), _refusal))

    def start(self, listen: str) -> str:
        """See Lane."""
        port = self._entrance.add_port(self._server, listen)
        self._server.start()
        for path, take in self._services.unary.items():
            for _ in range(STANDING_REQUESTS):
                self._ask_for(path, _Unary, take)
        for path, take in self._services.streams.items():
            self._ask_for(path, _Stream, take)
        self.thread.start()
        return bound(listen, port)

    def report(self, name: str, serving: bool) -> None:  # noqa: FBT001 - see Lane
        """See Lane."""
        self._health.set(name, status(serving))

    def drain(self, grace: float) -> None:
        """See Lane."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
        self.thread.join(JOIN_SECONDS)

    def _ask_for(self, path: str, kind: "type[_Unary | _Stream]", take: Take) -> None:
        admission, now, clock = self._entrance.admission, time.time, time.perf_counter
        admit = admission.keeper(role_of(path)) if admission else None

        def accept_all(event: Any) -> None:
            if event.success:
                with suppress(ValueError):  # the server has begun to stop
                    request()
                admit_in_time(event)

        def admit_in_time(event: Any) -> None:
            expires = event.call_details.deadline
            if expires < FOREVER and expires - now() < self._need_s and clock() - self._silent > BUSY_S:
                self._leave(event.call, expires)
            else:
                kind(self, event.call, take, expires)

        def accept_checked(event: Any) -> None:
            if event.success:
                with suppress(ValueError):
                    request()
                error = admit(event.invocation_metadata)  # type: ignore[misc]  # not None here
                if error is None:
                    admit_in_time(event)
                else:
                    self.start_batch(event.call, _refused(error), _done)

        accept = accept_all if admit is None else accept_checked

        def request() -> None:
            self._core.request_registered_call(self._queue, self._queue, path, accept)
            self._due += 1

        request()

    def _leave(self, call: Any, expires: float) -> None:
        """Lets a call expire unread, which costs a fraction of an answer that would come too late.

        Where calls come to us nearly expired since they queued elsewhere, working for all of them would serve none.
        """
        self._services.unread()
        self._need_s *= NEED_DECAY  # if all are left, nothing is measured any more: try again with less
        self._left.append((expires, call))  # given up before, it would end as CANCELLED

    def served(self, seconds: float) -> None:
        """Learns what a call with a deadline needed."""
        self._need_s += (NEED_MARGIN * seconds - self._need_s) * NEED_LEARNING

    def start_batch(self, call: Any, operations: tuple[Any, ...], tag: Any) -> None:
        """Starts operations on a call; `tag(event)` is called when they are done."""
        if call.start_server_batch(operations, tag) == cygrpc.CallError.ok:
            self._due += 1  # else the call is over and no event will come

    def resume(self, call: Any, then: Callable[[], None] | None = None) -> Callable[[], None]:
        """A function that any thread may call, once; the loop does `then`, or flushes. The call must not be over before.

        An empty batch of operations is done at once, and its event wakes the loop, which nothing else outside can.
        """
        self._due += 1

        def wake() -> None:
            call.start_server_batch((), lambda _event: todo())

        todo = then or self._flush
        return wake

    def _serve(self) -> None:
        poll, batcher, services, now, clock = (
            self._queue.poll,
            self._batcher,
            self._services,
            time.time,
            time.perf_counter,
        )
        timeout = cygrpc.CompletionType.queue_timeout
        patience, enough = MOST_EVENTS, 0.0
        while self._due or batcher:  # what waits to be answered owes no event
            event = poll(0.0 if batcher.ready else now() + IDLE_S)
            if event.completion_type == timeout:
                self._flush()
                self._silent = clock()
                patience, enough = MOST_EVENTS, self._silent + services.busy_s
                continue
            self._due -= 1
            try:
                event.tag(event)
            except Exception as error:  # noqa: BLE001 - one call must not end the others
                log.error("the fast lane failed on an event; the call is lost, the lane lives: %s", place(error))  # noqa: TRY400
            # A reference to a finished call keeps the core from closing its connection.
            event = None
            patience -= 1
            # Where more comes than can be answered, half of the time goes into taking it in.
            if not patience or (batcher.full and clock() >= enough):
                self._flush()
                patience, enough = MOST_EVENTS, clock() + services.busy_s
        self._queue.shutdown()
        while self._queue.poll().completion_type != cygrpc.CompletionType.queue_shutdown:
            pass

    def _flush(self) -> None:
        left = self._left
        if left:
            now = time.time()
            while left and left[0][0] < now:
                left.popleft()
        try:
            self._services.flush()
        except Exception as error:  # noqa: BLE001 - one batch must not end the others
            log.error("the fast lane failed to deliver a batch; the lane lives: %s", place(error))  # noqa: TRY400


class _FewReflections(reflection.ReflectionServicer):  # type: ignore[misc]  # grpc_reflection ships no types
    """Reflection that leaves threads to others."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self._places = threading.BoundedSemaphore(MOST_REFLECTIONS)

    def ServerReflectionInfo(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802 - gRPC's name
        if not self._places.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_REFLECTIONS} reflection streams are open; close one first."
            )
        try:
            yield from super().ServerReflectionInfo(requests, context)
        finally:
            self._places.release()


def _cold(answer: Cold) -> Any:
    def cold(raw: bytes, context: Any) -> bytes:
        try:
            return answer(raw)
        except RouterError as error:
            _abort(context, error)
            raise  # abort has raised already

    return cold


def _watch(watch: Watch, places: threading.BoundedSemaphore) -> Any:
    def watching(raw: bytes, context: Any) -> Iterator[bytes]:
        if not places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_WATCHES} watches are open; close one first.")
        try:
            yield from watch(raw, context.is_active)
        except RouterError as error:
            _abort(context, error)
        finally:
            places.release()

    return watching


def _abort(context: Any, error: RouterError) -> None:
    context.set_trailing_metadata(trailers(error) or ())
    context.abort(status_of(error), str(error))


def _refusal(error: RouterError) -> Any:
    return lambda _requests, context: context.abort(status_of(error), str(error))


def _refused(error: RouterError) -> tuple[Any, ...]:
    """Operations that end a call that has only begun."""
    return (
        cygrpc.ReceiveCloseOnServerOperation(0),
        cygrpc.SendInitialMetadataOperation(None, 0),
        cygrpc.SendStatusFromServerOperation(None, status_of(error).value[0], str(error).encode(), 0),
    )


def _done(_event: Any) -> None:
    """The tag of operations that nobody waits for."""


class _Unary:
    """One call of a unary method: receive a message, reply, done. A Caller (see batching)."""

    __slots__ = ("_accepted", "_call", "_lane", "_take", "_watched", "expires", "gone")

    def __init__(self, lane: FastLane, call: Any, take: Take, expires: float) -> None:
        self._lane = lane
        self._call = call
        self._take = take
        self._watched = False
        self._accepted = time.perf_counter()
        self.gone = False
        self.expires = expires if expires < FOREVER else math.inf
        lane.start_batch(call, (cygrpc.ReceiveMessageOperation(0),), self._received)

    def must_wait(self) -> None:
        if not self._watched:
            self._watched = True
            self._lane.start_batch(self._call, (cygrpc.ReceiveCloseOnServerOperation(0),), self._closed)

    def waker(self) -> Callable[[], None]:
        return self._lane.resume(self._call)

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return self._lane.resume(self._call, then)

    def _closed(self, event: Any) -> None:
        self.gone = event.batch_operations[0].cancelled()

    def _received(self, event: Any) -> None:
        raw = event.batch_operations[0].message()
        if raw is None:
            self._finish(UNIMPLEMENTED, NO_MESSAGE, None)
        else:
            self._take(raw, _reply, self, self)

    def reply(self, encoded: Encoded) -> None:
        if isinstance(encoded, bytes):
            operations: tuple[Any, ...] = (
                cygrpc.SendInitialMetadataOperation(None, 0),
                cygrpc.SendMessageOperation(encoded, 0),
                cygrpc.SendStatusFromServerOperation(None, OK, b"", 0),
            )
            self._send(operations)
            if self.expires != math.inf:
                self._lane.served(time.perf_counter() - self._accepted)
        else:
            self._finish(status_of(encoded).value[0], str(encoded).encode(), trailers(encoded))

    def _finish(self, code: int, details: bytes, metadata: Any) -> None:
        status = cygrpc.SendStatusFromServerOperation(metadata, code, details, 0)
        self._send((cygrpc.SendInitialMetadataOperation(None, 0), status))

    def _send(self, operations: tuple[Any, ...]) -> None:
        if not self._watched:
            operations = (cygrpc.ReceiveCloseOnServerOperation(0), *operations)
        self._lane.start_batch(self._call, operations, _done)


_reply: Deliver = lambda unary, encoded: unary.reply(encoded)  # noqa: E731 - typed as what it is


class _Slot:
    """The place of one answer in a stream."""

    __slots__ = ("_stream", "answer")

    def __init__(self, stream: "_Stream") -> None:
        self._stream = stream
        self.answer: bytes | None = None

    def fill(self, encoded: Encoded) -> None:
        assert isinstance(encoded, bytes)  # noqa: S101 - stream errors are messages
        self.answer = encoded
        self._stream.send()


_fill: Deliver = lambda slot, encoded: slot.fill(encoded)  # noqa: E731 - typed as what it is


class _Stream:
    """One call of a streaming method: read ahead within a window, write replies in order. A Caller (see batching)."""

    __slots__ = (
        "_call",
        "_closed",
        "_finished",
        "_lane",
        "_outbox",
        "_reading",
        "_sending",
        "_take",
        "expires",
        "gone",
    )

    def __init__(self, lane: FastLane, call: Any, take: Take, expires: float) -> None:
        self._lane = lane
        self._call = call
        self._take = take
        self._outbox: deque[_Slot] = deque()  # what was read and is not yet written
        self._reading = self._sending = self._closed = self._finished = False
        self.gone = False
        self.expires = expires if expires < FOREVER else math.inf
        lane.start_batch(call, (cygrpc.ReceiveCloseOnServerOperation(0),), self._ended)
        lane.start_batch(call, (cygrpc.SendInitialMetadataOperation(None, 0),), _done)
        self._read()

    def must_wait(self) -> None:
        """Streams always know whether their caller is there."""

    def waker(self) -> Callable[[], None]:
        return self._lane.resume(self._call)

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return self._lane.resume(self._call, then)

    def _read(self) -> None:
        self._reading = True
        self._lane.start_batch(self._call, (cygrpc.ReceiveMessageOperation(0),), self._received)

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
            self._lane.start_batch(self._call, (cygrpc.SendMessageOperation(answer, 0),), self._sent)

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
            self._lane.start_batch(self._call, (status,), _done)

    def _ended(self, event: Any) -> None:
        self._closed = True
        self.gone = event.batch_operations[0].cancelled()

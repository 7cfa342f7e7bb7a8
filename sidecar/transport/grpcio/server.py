"""The portable transport: grpc.aio on uvloop, public API only. The oracle of the other one."""

import asyncio
import logging
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio as reflection

from sidecar.errors import RouterError
from sidecar.faults import place
from sidecar.lanes.health import REFLECTED, REFLECTION_NAMES, Health
from sidecar.lanes.lane import Cold, Encoded, Hot, Services, Watch
from sidecar.transport.grpcio.listener import Listener
from sidecar.transport.slots import COLD_THREADS, MOST_WATCHES, Slots
from sidecar.transport.transport import Access, Handover, bound

try:
    from uvloop import new_event_loop
except ImportError:  # not on every platform
    from asyncio import new_event_loop  # type: ignore[assignment]  # uvloop's loop is narrower

log = logging.getLogger(__name__)

# How often, while nothing comes, it is looked whether something is to be changed between batches.
IDLE_S = 0.02


class GrpcioTransport:
    """Serves everything from one event loop in a thread of its own; see Transport.

    Args:
        services: what is served.
        access: how calls get in.
        health: what the health service tells.
    """

    open = 0
    closed: Mapping[str, int] = {}

    def __init__(self, services: Services, access: Access, health: Health) -> None:
        self._services = services
        self.access = access
        self._listener = Listener(access)
        self._statuses = health
        self._origin = _Origin()
        self._flush_due = False
        self._slots = Slots(MOST_WATCHES, "watches")
        self._pool = ThreadPoolExecutor(COLD_THREADS, thread_name_prefix="cold")
        self._loop = new_event_loop()
        self.thread = threading.Thread(target=self._run, name="transport", daemon=True)

    def start(
        self,
        listen: str,
        listeners: Sequence[socket.socket] = (),
        handover: Handover | None = None,
    ) -> str:
        """See Transport. Sockets that listen already cannot be used: grpc opens its own."""
        del listeners, handover
        self.thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(listen), self._loop).result()

    def drain(self, grace: float) -> None:
        """See Transport."""
        asyncio.run_coroutine_threadsafe(self._stop(grace), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.thread.join()
        self._loop.close()
        self._pool.shutdown()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self, listen: str) -> str:
        self._server = grpc.aio.server(options=self._listener.options)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        handlers = _reflection_handlers(reflection.ReflectionServicer(REFLECTED))
        self._server.add_generic_rpc_handlers(self._listener.guarded(handlers, None, _refusal))
        self._statuses.listen(self._report)
        for name, status in self._statuses.statuses().items():
            await self._health.set(name, status)

        def add(path: str, handler: Any) -> None:
            self._listener.add_method(self._server, path, handler, _refusal)

        # Generic handlers only: grpc.aio keeps a pending task for every method that is registered by name.
        for path, hot in self._services.unary.items():
            add(path, grpc.unary_unary_rpc_method_handler(self._unary(hot)))
        for path, hot in self._services.streams.items():
            add(path, grpc.stream_stream_rpc_method_handler(self._stream(hot)))
        for path, answer in self._services.cold.items():
            add(path, grpc.unary_unary_rpc_method_handler(self._cold(answer)))
        for path, watch in self._services.watches.items():
            add(path, grpc.unary_stream_rpc_method_handler(self._watch(watch)))
        port = self._listener.add_port(self._server, listen)
        await self._server.start()
        self._idle()
        return bound(listen, port)

    def _report(self, name: str, status: int) -> None:
        with suppress(RuntimeError):  # the loop is closed
            asyncio.run_coroutine_threadsafe(self._health.set(name, status), self._loop)

    async def _stop(self, grace: float) -> None:
        self._statuses.end()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    def _ask(self, hot: Hot, raw: bytes, context: Any) -> "asyncio.Future[Encoded]":
        reply: asyncio.Future[Encoded] = self._loop.create_future()
        left = context.time_remaining()
        now = time.perf_counter()
        expires = math.inf if left is None else now + left
        self._services.offer(_Call(hot, raw, self._origin, now, expires, reply, self._resume))
        self._flush_soon()
        return reply

    def _flush_soon(self) -> None:
        # Whatever else this turn of the loop brings joins the batch.
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        try:
            self._services.flush()
        except Exception as error:  # noqa: BLE001 - one batch must not end the others
            log.error("the transport failed to deliver a batch; it lives on: %s", place(error))  # noqa: TRY400
        if self._services.ready:
            self._flush_soon()

    def _resume(self, then: Callable[[], None] | None = None) -> None:
        """Does something soon, or flushes. From any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(then or self._flush_soon)

    def _idle(self) -> None:
        self._flush_soon()
        self._loop.call_later(IDLE_S, self._idle)

    def _unary(self, hot: Hot) -> Any:
        async def unary(raw: bytes, context: Any) -> bytes:
            encoded = await self._ask(hot, raw, context)
            if isinstance(encoded, RouterError):
                await _abort(context, encoded)
                raise encoded  # abort has raised already
            return encoded

        return unary

    def _stream(self, hot: Hot) -> Any:
        async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Encoded]:
            async for raw in requests:
                yield await self._ask(hot, raw, context)

        return stream

    def _cold(self, answer: Cold) -> Any:
        async def cold(raw: bytes, context: Any) -> bytes:
            try:
                return await self._loop.run_in_executor(self._pool, answer, raw)
            except RouterError as error:
                await _abort(context, error)
                raise  # abort has raised already

        return cold

    def _watch(self, watch: Watch) -> Any:
        async def watching(raw: bytes, context: Any) -> AsyncIterator[bytes]:
            here = True
            try:
                with self._slots.taken():
                    replies = watch(raw, lambda: here)
                    while (reply := await self._loop.run_in_executor(self._pool, _next, replies)) is not None:
                        yield reply
            except RouterError as error:
                await _abort(context, error)
            finally:
                here = False

        return watching


class _Origin:
    """All connections together: grpc does not let a server stop reading one of them (see Admission)."""

    held = 0
    paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class _Call:
    """A message that waits for its answer; see Call."""

    __slots__ = ("_reply", "_resume", "expires", "method", "origin", "raw", "since")

    def __init__(
        self,
        method: Hot,
        raw: bytes,
        origin: _Origin,
        since: float,
        expires: float,
        reply: "asyncio.Future[Encoded]",
        resume: Callable[[Callable[[], None] | None], None],
    ) -> None:
        self.method = method
        self.raw = raw
        self.origin = origin
        self.since = since
        self.expires = expires
        self._reply = reply
        self._resume = resume

    @property
    def gone(self) -> bool:
        return self._reply.cancelled()

    def reply(self, encoded: Encoded) -> None:
        if not self._reply.done():  # the caller may be gone
            self._reply.set_result(encoded)

    def waker(self) -> Callable[[], None]:
        return partial(self._resume, None)

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return partial(self._resume, then)


def _reflection_handlers(servicer: reflection_pb2_grpc.ServerReflectionServicer) -> Sequence[grpc.GenericRpcHandler]:
    """Reflection under both of its names."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in REFLECTION_NAMES]


async def _abort(context: Any, error: RouterError) -> None:
    await context.abort(_status(error), str(error), error.trailers)


def _next(replies: Iterator[bytes]) -> bytes | None:
    return next(replies, None)


def _refusal(error: RouterError) -> Any:
    async def refuse(_requests: Any, context: Any) -> None:
        await context.abort(_status(error), str(error))

    return refuse


def _status(error: RouterError) -> grpc.StatusCode:
    return grpc.StatusCode[error.status]

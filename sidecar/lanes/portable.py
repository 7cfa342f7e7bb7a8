"""The portable lane: grpc.aio on uvloop, public API only."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio as reflection

from sidecar.errors import RouterError
from sidecar.faults import place
from sidecar.lanes.entrance import Entrance
from sidecar.lanes.health import REFLECTED, reflection_handlers, status, statuses
from sidecar.lanes.lane import Cold, Encoded, Services, Take, Watch, bound, status_of, trailers
from sidecar.lanes.places import COLD_THREADS, MOST_WATCHES, Places

try:
    from uvloop import new_event_loop
except ImportError:  # not on every platform
    from asyncio import new_event_loop  # type: ignore[assignment]  # uvloop's loop is narrower

log = logging.getLogger(__name__)

# How often, while nothing comes, it is looked whether something is to be changed between batches.
IDLE_S = 0.02


class PortableLane:
    """Serves everything from one event loop in a thread of its own; see Lane.

    Args:
        services: what is served.
        entrance: how calls get in.
        fault: why nothing is scored at the start; empty if scoring works.
    """

    name = "portable"

    def __init__(self, services: Services, entrance: Entrance, fault: str = "") -> None:
        self._services = services
        self._batcher = services.batcher
        self._entrance = entrance
        self._fault = fault
        self._flush_due = False
        self._places = Places(MOST_WATCHES, "watches")
        self._pool = ThreadPoolExecutor(COLD_THREADS, thread_name_prefix="cold")
        self._loop = new_event_loop()
        self.thread = threading.Thread(target=self._run, name="portable-lane", daemon=True)

    def start(self, listen: str) -> str:
        """See Lane."""
        self.thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(listen), self._loop).result()

    def report(self, name: str, serving: bool) -> None:  # noqa: FBT001 - see Lane
        """See Lane."""
        asyncio.run_coroutine_threadsafe(self._health.set(name, status(serving)), self._loop)

    def drain(self, grace: float) -> None:
        """See Lane."""
        asyncio.run_coroutine_threadsafe(self._stop(grace), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.thread.join()
        self._loop.close()
        self._pool.shutdown()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self, listen: str) -> str:
        self._server = grpc.aio.server(options=self._entrance.options)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        handlers = reflection_handlers(reflection.ReflectionServicer(REFLECTED))
        self._server.add_generic_rpc_handlers(self._entrance.guarded(handlers, None, _refusal))
        for name, initial in statuses(self._fault).items():
            await self._health.set(name, initial)

        def add(path: str, handler: Any) -> None:
            self._entrance.add_method(self._server, path, handler, _refusal)

        # Generic handlers only: grpc.aio keeps a pending task for every method that is registered by name.
        for path, take in self._services.unary.items():
            add(path, grpc.unary_unary_rpc_method_handler(self._unary(take)))
        for path, take in self._services.streams.items():
            add(path, grpc.stream_stream_rpc_method_handler(self._stream(take)))
        for path, answer in self._services.cold.items():
            add(path, grpc.unary_unary_rpc_method_handler(self._cold(answer)))
        for path, watch in self._services.watches.items():
            add(path, grpc.unary_stream_rpc_method_handler(self._watch(watch)))
        port = self._entrance.add_port(self._server, listen)
        await self._server.start()
        self._idle()
        return bound(listen, port)

    async def _stop(self, grace: float) -> None:
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    def _ask(self, take: Take, raw: bytes, context: Any) -> "asyncio.Future[Encoded]":
        reply: asyncio.Future[Encoded] = self._loop.create_future()
        left = context.time_remaining()
        take(raw, _resolve, reply, _Caller(reply, math.inf if left is None else time.time() + left, self._resume))
        if self._batcher.ready:
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
            log.error("the portable lane failed to deliver a batch; the lane lives: %s", place(error))  # noqa: TRY400
        if self._batcher.ready:
            self._flush_soon()

    def _resume(self, then: Callable[[], None] | None = None) -> None:
        """Does something soon, or flushes. From any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(then or self._flush_soon)

    def _idle(self) -> None:
        self._flush_soon()
        self._loop.call_later(IDLE_S, self._idle)

    def _unary(self, take: Take) -> Any:
        async def unary(raw: bytes, context: Any) -> bytes:
            encoded = await self._ask(take, raw, context)
            if isinstance(encoded, RouterError):
                await _abort(context, encoded)
                raise encoded  # abort has raised already
            return encoded

        return unary

    def _stream(self, take: Take) -> Any:
        async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Encoded]:
            async for raw in requests:
                yield await self._ask(take, raw, context)

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
                with self._places.taken():
                    replies = watch(raw, lambda: here)
                    while (reply := await self._loop.run_in_executor(self._pool, _next, replies)) is not None:
                        yield reply
            except RouterError as error:
                await _abort(context, error)
            finally:
                here = False

        return watching


class _Caller:
    """Who waits for an answer (see batching)."""

    __slots__ = ("_reply", "_resume", "expires")

    def __init__(
        self, reply: "asyncio.Future[Encoded]", expires: float, resume: Callable[[Callable[[], None] | None], None]
    ) -> None:
        self._reply = reply
        self._resume = resume
        self.expires = expires

    @property
    def gone(self) -> bool:
        return self._reply.cancelled()

    def must_wait(self) -> None:
        """The loop cancels what nobody waits for any more."""

    def waker(self) -> Callable[[], None]:
        return partial(self._resume, None)

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return partial(self._resume, then)


async def _abort(context: Any, error: RouterError) -> None:
    await context.abort(status_of(error), str(error), trailers(error) or ())


def _next(replies: Iterator[bytes]) -> bytes | None:
    return next(replies, None)


def _refusal(error: RouterError) -> Any:
    async def refuse(_requests: Any, context: Any) -> None:
        await context.abort(status_of(error), str(error))

    return refuse


def _resolve(reply: "asyncio.Future[Encoded]", encoded: Encoded) -> None:
    if not reply.done():  # the caller may be gone
        reply.set_result(encoded)

"""The portable lane: grpc.aio on uvloop, public API only."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio as reflection

from sidecar.errors import RouterError
from sidecar.faults import place
from sidecar.lanes.entrance import Entrance
from sidecar.lanes.health import REFLECTED, reflection_handlers, statuses
from sidecar.lanes.lane import Encoded, Services, Take, bound, status_of
from sidecar.lanes.roles import role_of

try:
    from uvloop import new_event_loop
except ImportError:  # not on every platform
    from asyncio import new_event_loop  # type: ignore[assignment]  # uvloop's loop is narrower

log = logging.getLogger(__name__)


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
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._run, name="portable-lane", daemon=True)

    def start(self, listen: str) -> str:
        """See Lane."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(listen), self._loop).result()

    def report(self, fault: str) -> None:
        """See Lane."""
        asyncio.run_coroutine_threadsafe(self._set_health(fault), self._loop)

    def drain(self, grace: float) -> None:
        """See Lane."""
        asyncio.run_coroutine_threadsafe(self._stop(grace), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self, listen: str) -> str:
        self._server = grpc.aio.server(options=self._entrance.options)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        handlers = reflection_handlers(reflection.ReflectionServicer(REFLECTED))
        self._server.add_generic_rpc_handlers(self._entrance.guarded(handlers, None, _refusal))
        await self._set_health(self._fault)
        # Generic handlers only: grpc.aio keeps a pending task for every method that is registered by name.
        for path, take in self._services.unary.items():
            self._add(path, grpc.unary_unary_rpc_method_handler(self._unary(take)))
        for path, take in self._services.streams.items():
            self._add(path, grpc.stream_stream_rpc_method_handler(self._stream(take)))
        for path, answer in self._services.cold.items():
            self._add(path, grpc.unary_unary_rpc_method_handler(self._cold(answer)))
        port = self._entrance.add_port(self._server, listen)
        await self._server.start()
        return bound(listen, port)

    def _add(self, path: str, handler: Any) -> None:
        _, service, method = path.split("/")
        handlers = [grpc.method_handlers_generic_handler(service, {method: handler})]
        self._server.add_generic_rpc_handlers(self._entrance.guarded(handlers, role_of(path), _refusal))

    async def _stop(self, grace: float) -> None:
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def _set_health(self, fault: str) -> None:
        for name, status in statuses(fault).items():
            await self._health.set(name, status)

    def _ask(self, take: Take, raw: bytes) -> "asyncio.Future[Encoded]":
        reply: asyncio.Future[Encoded] = self._loop.create_future()
        take(raw, _resolve, reply)
        if self._batcher and not self._flush_due:
            # Whatever else this turn of the loop brings joins the batch.
            self._flush_due = True
            self._loop.call_soon(self._flush)
        return reply

    def _flush(self) -> None:
        self._flush_due = False
        try:
            self._batcher.flush()
        except Exception as error:  # noqa: BLE001 - one batch must not end the others
            log.error("the portable lane failed to deliver a batch; the lane lives: %s", place(error))  # noqa: TRY400

    def _unary(self, take: Take) -> Any:
        async def unary(raw: bytes, context: Any) -> bytes:
            encoded = await self._ask(take, raw)
            if isinstance(encoded, RouterError):
                await context.abort(status_of(encoded), str(encoded))
                raise encoded  # abort has raised already
            return encoded

        return unary

    def _stream(self, take: Take) -> Any:
        async def stream(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[Encoded]:
            async for raw in requests:
                yield await self._ask(take, raw)

        return stream

    def _cold(self, answer: Callable[[bytes], bytes]) -> Any:
        async def cold(raw: bytes, _context: Any) -> bytes:
            return answer(raw)

        return cold


def _refusal(error: RouterError) -> Any:
    async def refuse(_requests: Any, context: Any) -> None:
        await context.abort(status_of(error), str(error))

    return refuse


def _resolve(reply: "asyncio.Future[Encoded]", encoded: Encoded) -> None:
    if not reply.done():  # the caller may be gone
        reply.set_result(encoded)

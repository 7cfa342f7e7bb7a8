"""What the fast lane leaves to the public grpc.server on the same port: health, reflection and rare methods, in threads."""

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidecar.errors import RouterError
from sidecar.lanes.entrance import Entrance
from sidecar.lanes.health import REFLECTED, reflection_handlers, status, statuses
from sidecar.lanes.lane import Cold, Services, Watch, status_of, trailers
from sidecar.lanes.places import COLD_THREADS, MOST_REFLECTIONS, MOST_WATCHES, Places


class PublicServer:
    """The server, which listens on no port yet.

    Args:
        services: what is served; its hot methods are not looked at.
        entrance: how calls get in.
        fault: why nothing is scored at the start; empty if scoring works.

    Attributes:
        server: the grpc.server.
    """

    def __init__(self, services: Services, entrance: Entrance, fault: str) -> None:
        pool = futures.ThreadPoolExecutor(COLD_THREADS, thread_name_prefix="cold")
        self.server = grpc.server(pool, options=entrance.options)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        for name, initial in statuses(fault).items():
            self._health.set(name, initial)
        handlers = entrance.guarded(reflection_handlers(_FewReflections()), None, _refusal)
        self.server.add_generic_rpc_handlers(handlers)
        for path, answer in services.cold.items():
            entrance.add_method(self.server, path, grpc.unary_unary_rpc_method_handler(_cold(answer)), _refusal)
        places = Places(MOST_WATCHES, "watches")
        for path, watch in services.watches.items():
            entrance.add_method(
                self.server, path, grpc.unary_stream_rpc_method_handler(_watch(watch, places)), _refusal
            )

    def report(self, name: str, serving: bool) -> None:  # noqa: FBT001 - see Lane
        """See Lane."""
        self._health.set(name, status(serving))

    def stop(self, grace: float) -> None:
        """Health says NOT_SERVING, calls in flight may end for `grace` seconds; returns when they have."""
        self._health.enter_graceful_shutdown()
        self.server.stop(grace).wait()


class _FewReflections(reflection.ReflectionServicer):  # type: ignore[misc]  # grpc_reflection ships no types
    """Reflection that leaves threads to others."""

    def __init__(self) -> None:
        super().__init__(REFLECTED)
        self._places = Places(MOST_REFLECTIONS, "reflection streams")

    def ServerReflectionInfo(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802 - gRPC's name
        try:
            with self._places.taken():
                yield from super().ServerReflectionInfo(requests, context)
        except RouterError as error:
            _abort(context, error)


def _cold(answer: Cold) -> Any:
    def cold(raw: bytes, context: Any) -> bytes:
        try:
            return answer(raw)
        except RouterError as error:
            _abort(context, error)
            raise  # abort has raised already

    return cold


def _watch(watch: Watch, places: Places) -> Any:
    def watching(raw: bytes, context: Any) -> Iterator[bytes]:
        try:
            with places.taken():
                yield from watch(raw, context.is_active)
        except RouterError as error:
            _abort(context, error)

    return watching


def _abort(context: Any, error: RouterError) -> None:
    context.set_trailing_metadata(trailers(error) or ())
    context.abort(status_of(error), str(error))


def _refusal(error: RouterError) -> Any:
    return lambda _requests, context: context.abort(status_of(error), str(error))

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from sidecar.service_config import CHANNEL_OPTIONS, SERVICE_CONFIG
from sidecar.wire import bundle_pb2 as bundles
from sidecar.wire import bundle_pb2_grpc, router_pb2_grpc
from sidecar.wire import router_pb2 as pb


class Fickle(router_pb2_grpc.RouterServiceServicer):
    """Fails so many times, then answers."""

    def __init__(self) -> None:
        self.failures = 0
        self.code = grpc.StatusCode.UNAVAILABLE
        self.pushback = ""
        self.calls = 0

    def answer(self, reply: Any, context: Any) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            if self.pushback:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", self.pushback),))
            context.abort(self.code, "not now")
        return reply

    def Route(self, request: pb.RouteRequest, context: Any) -> Any:  # noqa: N802
        return self.answer(pb.RouteResponse(model="small", segment=request.segment), context)

    def RollbackBundle(self, _request: bundles.RollbackBundleRequest, context: Any) -> Any:  # noqa: N802
        return self.answer(bundles.RollbackBundleResponse(), context)


@pytest.fixture
def fickle() -> Fickle:
    return Fickle()


@pytest.fixture
def channel(fickle: Fickle) -> Iterator[grpc.Channel]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    router_pb2_grpc.add_RouterServiceServicer_to_server(fickle, server)  # type: ignore[no-untyped-call]
    rollback = grpc.unary_unary_rpc_method_handler(
        fickle.RollbackBundle,
        request_deserializer=bundles.RollbackBundleRequest.FromString,
        response_serializer=bundles.RollbackBundleResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("router.v1.BundleService", {"RollbackBundle": rollback}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
        yield channel
    stopped: threading.Event = server.stop(None)
    stopped.wait(10)


def route(channel: grpc.Channel, text: str = "x") -> pb.RouteResponse:
    stub: Any = router_pb2_grpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
    reply: pb.RouteResponse = stub.Route(pb.RouteRequest(text=text), timeout=20)
    return reply


def test_it_is_a_service_config_of_the_standard_form() -> None:
    (method,) = json.loads(SERVICE_CONFIG)["methodConfig"]
    assert method["name"] == [{"service": "router.v1.RouterService"}]
    assert 2 <= method["retryPolicy"]["maxAttempts"] <= 5  # gRFC A6 allows no more
    assert dict(CHANNEL_OPTIONS)["grpc.service_config"] == SERVICE_CONFIG


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED]
)
def test_route_is_tried_again_until_the_fourth_time(
    channel: grpc.Channel, fickle: Fickle, code: grpc.StatusCode
) -> None:
    fickle.failures, fickle.code = 3, code
    assert route(channel).model == "small"
    assert fickle.calls == 4
    fickle.failures, fickle.calls = 4, 0
    with pytest.raises(grpc.RpcError):
        route(channel)
    assert fickle.calls == 4


def test_what_is_wrong_with_the_request_is_not_tried_again(channel: grpc.Channel, fickle: Fickle) -> None:
    fickle.failures, fickle.code = 1, grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError):
        route(channel)
    assert fickle.calls == 1


def test_a_server_that_says_no_more_is_heeded(channel: grpc.Channel, fickle: Fickle) -> None:
    fickle.failures, fickle.code, fickle.pushback = 1, grpc.StatusCode.RESOURCE_EXHAUSTED, "-1"
    with pytest.raises(grpc.RpcError):
        route(channel)
    assert fickle.calls == 1


def test_a_request_of_a_megabyte_is_tried_again_too(channel: grpc.Channel, fickle: Fickle) -> None:
    fickle.failures = 1
    assert route(channel, "x" * (1 << 20)).model == "small"
    assert fickle.calls == 2


def test_a_worker_that_dies_with_hundreds_of_calls_does_not_use_up_the_retries(
    channel: grpc.Channel, fickle: Fickle
) -> None:
    fickle.failures = 300
    stub: Any = router_pb2_grpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
    calls = [stub.Route.future(pb.RouteRequest(text="x"), timeout=60) for _ in range(300)]
    assert {call.result().model for call in calls} == {"small"}


def test_operators_calls_are_not_repeated(channel: grpc.Channel, fickle: Fickle) -> None:
    fickle.failures = 1
    stub: Any = bundle_pb2_grpc.BundleServiceStub(channel)  # type: ignore[no-untyped-call]
    with pytest.raises(grpc.RpcError):
        stub.RollbackBundle(bundles.RollbackBundleRequest(), timeout=20)
    assert fickle.calls == 1

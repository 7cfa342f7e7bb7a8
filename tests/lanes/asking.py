"""What tests of both lanes ask a sidecar, and how they read its refusals."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.wire import router_pb2 as pb
from tests.lanes.conftest import Running

PLAIN = "what is the capital of a small country"
HARD = "prove the theorem about the manifold"
QUALITY = pb.Policy(answer_value_usd=1.0)
ROUTE = "/router.v1.RouterService/Route"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def refused(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return caught.value.code(), caught.value.details() or ""


def raw_route(running: Running) -> Any:
    return running.channel.unary_unary(ROUTE)


def user(content: str) -> pb.ChatMessage:
    return pb.ChatMessage(role="user", content=content)


def health_of(running: Running, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(running.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status)

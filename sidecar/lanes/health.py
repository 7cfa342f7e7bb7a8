"""Names under which the standard health service (grpc.health.v1) answers, and reflection beside it."""

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sidecar.lanes.lane import SERVICE

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# These say whether the sidecar can answer, which it can while it is degraded: a gateway that stopped asking would lose
# the safe candidate too.
ANSWERING = ("", SERVICE, "liveness", "readiness")
# This one says whether requests are really scored.
SCORING = "scoring"

REFLECTED = (SERVICE, health.SERVICE_NAME)
# Younger clients ask for v1 first; its messages are the same to the byte.
REFLECTION_NAMES = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


def statuses(fault: str) -> dict[str, int]:
    """The status of every name.

    Args:
        fault: why nothing is scored; empty if scoring works.
    """
    return {**dict.fromkeys(ANSWERING, SERVING), SCORING: NOT_SERVING if fault else SERVING}


def reflection_handlers(servicer: reflection_pb2_grpc.ServerReflectionServicer) -> Sequence[grpc.GenericRpcHandler]:
    """Reflection under both of its names."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in REFLECTION_NAMES]

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
# This one says whether requests are scored at all just now.
SCORING = "scoring"
# This one says whether enough of the latest requests were scored, in every segment.
COVERAGE = "coverage"
# This one says whether an encoder runs on the device that it was meant to run on.
DEVICE = "device"

REFLECTED = (SERVICE, health.SERVICE_NAME)
# Younger clients ask for v1 first; its messages are the same to the byte.
REFLECTION_NAMES = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


def statuses(fault: str) -> dict[str, int]:
    """The status of every name at the start.

    Args:
        fault: why nothing is scored; empty if scoring works.
    """
    return {**dict.fromkeys((*ANSWERING, COVERAGE, DEVICE), SERVING), SCORING: status(not fault)}


def status(serving: bool) -> int:  # noqa: FBT001 - the one thing it takes
    """As the health service calls it."""
    return int(SERVING if serving else NOT_SERVING)


def reflection_handlers(servicer: reflection_pb2_grpc.ServerReflectionServicer) -> Sequence[grpc.GenericRpcHandler]:
    """Reflection under both of its names."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in REFLECTION_NAMES]

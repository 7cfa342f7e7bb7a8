"""What the two Python clients send, and what they print."""

import json
import sys
from pathlib import Path
from typing import Any

import grpc

from sidecar.wire import router_pb2 as pb

PLAIN = pb.RouteRequest(text="what is the capital of a small country")
LARGE = pb.RouteRequest(text="kitchen " * (3 << 17))
BATCH = pb.RouteBatchRequest(requests=[PLAIN] * 5000)
THREE = pb.RouteBatchRequest(requests=[PLAIN] * 3)
UNKNOWN_POLICY = pb.RouteRequest(text="x", policy_name="günstig 100% 安い")
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
SHORT_S, LONG_S, RECORD_S = 0.2, 60.0, 1.5
CALLS = 10


def message(sequence: int) -> pb.RouteStreamRequest:
    """A message of the scenario `stream`, of which the third is no valid request."""
    return pb.RouteStreamRequest(sequence=sequence, request=pb.RouteRequest() if sequence == 3 else PLAIN)


def streamed(replies: list[pb.RouteStreamResponse], status: grpc.StatusCode) -> None:
    """Prints what the scenario `stream` heard."""
    results = [reply.result for reply in replies]
    tell(
        sequences=[reply.sequence for reply in replies],
        models=[result.response.model for result in results],
        codes=[result.error.code for result in results],
        status=status.name,
    )


def credentials() -> grpc.ChannelCredentials | None:
    """For TLS, if an authority is given."""
    return grpc.ssl_channel_credentials(Path(sys.argv[3]).read_bytes()) if len(sys.argv) > 3 else None


def tell(**words: Any) -> None:
    """Prints one line."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()

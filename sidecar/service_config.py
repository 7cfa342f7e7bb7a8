"""What a client of the sidecar should do when a call fails: the standard gRPC service config, as a file to ship.

It retries the methods of RouterService, which may be asked twice: while a worker dies (UNAVAILABLE) or ends in good order
(CANCELLED: so gRPC's core ends a call that arrives after the server has begun to stop, and before the client knows), and
under overload, when the sidecar says (RESOURCE_EXHAUSTED with the time after which to try again). A caller that cancels is
not retried. Operators' calls are not either, since a rollback that is carried out twice brings back what was rolled back.
"""

from collections.abc import Sequence
from pathlib import Path

# Any gRPC client in any language takes it as it is.
SERVICE_CONFIG = Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
# For a channel of grpcio or of another binding of the C core. The sidecar stands next door, so a connection that was
# refused is worth another try at once, not after a second; and a request can only be sent again if it was kept.
CHANNEL_OPTIONS: Sequence[tuple[str, str | int]] = (
    ("grpc.service_config", SERVICE_CONFIG),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Also the time that a connection may take: one that waits for the successor of a killed worker is not given up.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.per_rpc_retry_buffer_size", 8 << 20),
)

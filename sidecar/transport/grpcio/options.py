"""What the server is told of its channels: how large messages may be, and what one caller may take."""

from collections.abc import Sequence
from typing import Any

from sidecar.door.settings import LimitsConfig

# Pings too close together that a client may send before it is told to go away.
PING_STRIKES = 2


def options(max_message_bytes: int, limits: LimitsConfig, *, shared: bool) -> Sequence[tuple[str, Any]]:
    """Channel options; `shared`: other processes may listen on the same port."""
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        # A batch's replies are larger than its requests; they are our own making and need no limit.
        ("grpc.max_send_message_length", -1),
        # Two sidecars on one port would split its connections in silence; the workers of one are meant to.
        ("grpc.so_reuseport", int(shared)),
        # Estimating the bandwidth-delay product costs pings and buys nothing for small messages.
        ("grpc.http2.bdp_probe", 0),
        *_limiting(limits),
    )


def _limiting(limits: LimitsConfig) -> Sequence[tuple[str, int]]:
    given = [
        # Between the two sizes the core refuses some calls by chance; equal, they are one plain limit.
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_metadata_bytes),
        ("grpc.max_concurrent_streams", limits.max_concurrent_streams),
        ("grpc.server_handshake_timeout_ms", _ms(limits.handshake_timeout_seconds)),
        ("grpc.keepalive_timeout_ms", _ms(limits.keepalive_timeout_seconds)),
        # The core waits a minute for the answer to a ping, whatever the keepalive timeout says.
        ("grpc.http2.ping_timeout_ms", _ms(limits.keepalive_timeout_seconds)),
        # A peer that is gone shows on idle connections only if these are pinged too.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(1000 * limits.min_ping_seconds)),
        ("grpc.http2.max_ping_strikes", PING_STRIKES),
    ]
    if limits.max_connections:
        given.append(("grpc.max_allowed_incoming_connections", limits.max_connections))
    if limits.keepalive_seconds:
        given.append(("grpc.keepalive_time_ms", _ms(limits.keepalive_seconds)))
    if limits.max_connection_age_seconds:
        given.append(("grpc.max_connection_age_ms", _ms(limits.max_connection_age_seconds)))
        given.append(("grpc.max_connection_age_grace_ms", _ms(limits.max_connection_age_grace_seconds)))
    return given


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))

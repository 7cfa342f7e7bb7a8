"""What a lane is, and what it serves."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import grpc

from sidecar.batching import Caller
from sidecar.door.settings import LimitsConfig
from sidecar.errors import ConfigError, RouterError

SERVICE = "router.v1.RouterService"
# Pings too close together that a client may send before it is told to go away.
PING_STRIKES = 2

Encoded = bytes | RouterError
Deliver = Callable[[Any, Encoded], None]  # (the call's key, its reply)
Take = Callable[[bytes, Deliver, Any, Caller], None]  # takes a message; delivers once, now or at a later flush
Cold = Callable[[bytes], bytes]  # may raise RouterError
Watch = Callable[[bytes, Callable[[], bool]], Iterator[bytes]]  # given whether the caller is still there


class Waiting(Protocol):
    """The requests that were taken and not yet answered."""

    def __len__(self) -> int:
        """How many."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a flush would answer any, or begin to."""
        ...

    @property
    def full(self) -> bool:
        """Whether they fill a batch."""
        ...


class Services(Protocol):
    """What a lane serves. Methods are named as in a gRPC path, `/package.Service/Method`.

    Attributes:
        unary: hot methods of one request and one reply.
        streams: hot methods of many requests, each with one reply, in order.
        cold: rare methods of one request and one reply; may be called from any thread, and may block.
        watches: rare methods of one request and a stream of replies that lasts as long as the caller; likewise.
        batcher: what was taken and not yet answered.
        busy_s: seconds that the latest flush took.
    """

    @property
    def unary(self) -> Mapping[str, Take]: ...  # noqa: D102 - said above
    @property
    def streams(self) -> Mapping[str, Take]: ...  # noqa: D102 - said above
    @property
    def cold(self) -> Mapping[str, Cold]: ...  # noqa: D102 - said above
    @property
    def watches(self) -> Mapping[str, Watch]: ...  # noqa: D102 - said above
    @property
    def batcher(self) -> Waiting: ...  # noqa: D102 - said above

    @property
    def busy_s(self) -> float: ...  # noqa: D102 - said above

    def unread(self) -> None:
        """Counts a call that was not read, since it could not have been answered before its deadline."""
        ...

    def flush(self) -> None:
        """Answers one batch of what waits. Called between batches, and now and then when nothing waits."""
        ...


class Lane(Protocol):
    """A running server. `start` once, then `drain` once."""

    @property
    def thread(self) -> threading.Thread:
        """Carries the hot methods, once it is started."""
        ...

    def start(self, listen: str) -> str:
        """Listens on HOST:PORT and serves; gives the address with the port that was chosen.

        Raises:
            ConfigError: the address cannot be had.
        """
        ...

    def report(self, name: str, serving: bool) -> None:  # noqa: FBT001 - as health calls it
        """Tells health whether a name is serving. From any thread."""
        ...

    def drain(self, grace: float) -> None:
        """Health says NOT_SERVING, calls in flight may end for `grace` seconds; returns when all is closed."""
        ...


def options(max_message_bytes: int, limits: LimitsConfig, *, shared: bool) -> Sequence[tuple[str, Any]]:
    """Channel options of both lanes; `shared`: other processes may listen on the same port."""
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
    if limits.receive_buffer_bytes:
        # What waits in the kernel cannot be told from what has just come: under overload a megabyte of requests there
        # is a second of answers that nobody waits for any more. Measured at 3x of peak with a heavier model: with the
        # system's own buffers nothing was answered in time, and the backlog took 1.8 s to clear.
        given.append(("grpc.tcp_receive_buffer_size", limits.receive_buffer_bytes))
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


def trailers(error: RouterError) -> tuple[tuple[str, str], ...] | None:
    """What goes with an error's status: when to try again (gRFC A6)."""
    return None if error.pushback_ms is None else (("grpc-retry-pushback-ms", str(error.pushback_ms)),)


def status_of(error: RouterError) -> grpc.StatusCode:
    """The gRPC status of an error."""
    return grpc.StatusCode[error.status]


def unavailable(listen: str) -> ConfigError:
    """The error of an address that cannot be had."""
    return ConfigError(
        f"listen: cannot bind {listen!r}: give HOST:PORT with a free port and an address of this machine (port 0 lets "
        "the system choose)."
    )


def bound(listen: str, port: int) -> str:
    """The address with the port that was chosen."""
    return f"{listen.rpartition(':')[0]}:{port}"

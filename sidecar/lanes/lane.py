"""What a lane is, and what it serves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import grpc

from sidecar.batching import Caller
from sidecar.errors import ConfigError, RouterError

SERVICE = "router.v1.RouterService"

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

    def flush(self) -> None:
        """Answers one batch of what waits. Called between batches, and now and then when nothing waits."""
        ...


class Lane(Protocol):
    """A running server. `start` once, then `drain` once."""

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


def options(max_message_bytes: int, *, shared: bool) -> Sequence[tuple[str, Any]]:
    """Channel options of both lanes; `shared`: other processes may listen on the same port."""
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        # A batch's replies are larger than its requests; they are our own making and need no limit.
        ("grpc.max_send_message_length", -1),
        # Two sidecars on one port would split its connections in silence; the workers of one are meant to.
        ("grpc.so_reuseport", int(shared)),
        # Estimating the bandwidth-delay product costs pings and buys nothing for small messages.
        ("grpc.http2.bdp_probe", 0),
    )


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

"""What a lane is, and what it serves."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import grpc

from sidecar.batching import Caller
from sidecar.errors import RouterError

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


def trailers(error: RouterError) -> tuple[tuple[str, str], ...] | None:
    """What goes with an error's status: when gRPC is to try again (gRFC A6), and when anybody may."""
    named = (("grpc-retry-pushback-ms", error.pushback_ms), ("retry-after-ms", error.retry_after_ms))
    return tuple((name, str(ms)) for name, ms in named if ms is not None) or None


def status_of(error: RouterError) -> grpc.StatusCode:
    """The gRPC status of an error."""
    return grpc.StatusCode[error.status]


def bound(listen: str, port: int) -> str:
    """The address with the port that was chosen."""
    return f"{listen.rpartition(':')[0]}:{port}"

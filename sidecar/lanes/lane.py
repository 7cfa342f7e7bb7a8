"""What a transport serves: methods by path, bytes in, bytes or errors out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.batching import Caller
from sidecar.engine.admission import Waiting
from sidecar.errors import RouterError

SERVICE = "router.v1.RouterService"

Encoded = bytes | RouterError
Deliver = Callable[[Any, Encoded], None]  # (the call's key, its reply)
Take = Callable[[bytes, Deliver, Any, Caller], None]  # takes a message; delivers once, now or at a later flush
Cold = Callable[[bytes], bytes]  # may raise RouterError
Watch = Callable[[bytes, Callable[[], bool]], Iterator[bytes]]  # given whether the caller is still there


@dataclass(frozen=True, slots=True, eq=False)
class Hot:
    """A method that is served by the transport's own thread, in batches.

    Attributes:
        take: parses a message and sees to its answer.
        segment: the segment of a message, from a few of its bytes; "(not read)" where these do not tell.
        degrade: as take, without scoring, at once; None where there is no such answer.
        refuse: the answer to a message that is turned away unparsed.
        scores: True if its calls count in coverage.
    """

    take: Take
    segment: Callable[[bytes], str]
    degrade: Take | None = None
    refuse: Callable[[bytes, RouterError], Encoded] = lambda _raw, error: error
    scores: bool = False


class Call(Waiting, Caller, Protocol):
    """A message of a hot method, and how its answer goes back.

    Attributes:
        method: what is called.
    """

    @property
    def method(self) -> Hot: ...  # noqa: D102 - said above

    def reply(self, encoded: Encoded) -> None:
        """Answers; called once."""
        ...


class Services(Protocol):
    """What a transport serves. Methods are named as in a gRPC path, `/package.Service/Method`.

    Attributes:
        unary: hot methods of one request and one reply.
        streams: hot methods of many requests, each with one reply, in order.
        cold: rare methods of one request and one reply; may be called from any thread, and may block.
        watches: rare methods of one request and a stream of replies that lasts as long as the caller; likewise.
        ready: True if a flush would answer anything, or begin to.
    """

    @property
    def unary(self) -> Mapping[str, Hot]: ...  # noqa: D102 - said above
    @property
    def streams(self) -> Mapping[str, Hot]: ...  # noqa: D102 - said above
    @property
    def cold(self) -> Mapping[str, Cold]: ...  # noqa: D102 - said above
    @property
    def watches(self) -> Mapping[str, Watch]: ...  # noqa: D102 - said above
    @property
    def ready(self) -> bool: ...  # noqa: D102 - said above

    @property
    def crowded(self) -> bool:
        """True while calls wait for their turn."""
        ...

    def turn_away(self, method: Hot, calls: int) -> RouterError:
        """Counts calls of a method that are refused unread since too many wait; gives what they are told."""
        ...

    def offer(self, call: Call) -> None:
        """Takes a call of a hot method; it will be answered at a flush, unless its caller is gone by then."""
        ...

    def flush(self) -> None:
        """Answers one batch of what waits. Called between batches, and now and then when nothing waits."""
        ...

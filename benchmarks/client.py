"""What a load generator needs of a client: hand over one call, collect the replies that have come."""

from typing import NamedTuple, Protocol

# Numbers of https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
CODES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
OK, UNAVAILABLE, DEADLINE_EXCEEDED = (CODES.index(name) for name in ("OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"))
# Not a gRPC status: the run ended before the reply came.
UNANSWERED = len(CODES)


def code_name(status: int) -> str:
    """The name of a status number."""
    return CODES[status] if 0 <= status < len(CODES) else "UNANSWERED" if status == UNANSWERED else f"STATUS_{status}"


class Reply(NamedTuple):
    """The end of one call.

    Attributes:
        key: as given to send.
        at: clock reading in seconds when the reply was read from the socket.
        status: gRPC status number.
        body: the message; empty where there is none.
        sent: clock reading when the headers of a call that had to wait in the client were written; 0 where they were
            written at once, NaN where they never were.
    """

    key: int
    at: float
    status: int
    body: bytes
    sent: float = 0.0


class Client(Protocol):
    """One way to make unary calls to one method of one server."""

    def send(self, payload: bytes, key: int) -> None:
        """Begins a call with a serialised request. Never waits for the server."""
        ...

    def wait(self, timeout_s: float) -> list[Reply]:
        """Waits at most timeout_s for replies; returns those that have come (perhaps none)."""
        ...

    def close(self) -> None:
        """Ends all connections."""
        ...

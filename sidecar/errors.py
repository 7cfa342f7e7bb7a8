"""What can go wrong, with the gRPC status that it becomes at the edge.

Each class carries its status as data, so that one mapping at the edge serves them all. Messages name the field (or the
file) and the remedy, and never quote a prompt.
"""

from math import ceil
from typing import ClassVar

# gRPC's status codes, https://grpc.io/docs/guides/status-codes/. Their place is their number.
STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
CODES = {status: number for number, status in enumerate(STATUSES)}


class RouterError(Exception):
    """The root of all errors that are meant for a caller or an operator."""

    status: ClassVar[str] = "INTERNAL"
    # Milliseconds after which a client with a retry policy may try again; negative: it need not; None: as it likes.
    pushback_ms: int | None = None
    # Milliseconds after which the same request may be answered; None: nobody knows, or it never will.
    retry_after_ms: int | None = None

    @property
    def code(self) -> int:
        """The number of its gRPC status."""
        return CODES[self.status]

    @property
    def trailers(self) -> tuple[tuple[str, str], ...]:
        """What goes with its status: when gRPC is to try again (gRFC A6), and when any caller may."""
        named = (("grpc-retry-pushback-ms", self.pushback_ms), ("retry-after-ms", self.retry_after_ms))
        return tuple((name, str(ms)) for name, ms in named if ms is not None)


class InvalidRequest(RouterError):
    """The request itself is wrong; sending it again will not help."""

    status = "INVALID_ARGUMENT"


class NoCandidate(RouterError):
    """The request is well formed, but no candidate satisfies its constraints."""

    status = "FAILED_PRECONDITION"


class TooLarge(RouterError):
    """The request is over one of the limits that Info states."""

    status = "RESOURCE_EXHAUSTED"
    pushback_ms = -1


class Overloaded(RouterError):
    """More is waiting than can be answered in time.

    Args:
        wait_s: seconds that the request would have had to wait.
    """

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            f"overload: the queue needs {wait_s * 1000:.0f} ms; try again later, give a longer deadline, or set "
            "overload.action to degrade."
        )
        self.pushback_ms = self.retry_after_ms = max(1, round(wait_s * 1000))


class OverBudget(RouterError):
    """Budgets that refuse are used up, and no other candidate is left.

    Args:
        budget: name of the one that opens next.
        segment: of the request.
        wait_s: seconds until it opens.
        opens: when that is, as told to a caller.
    """

    status = "RESOURCE_EXHAUSTED"
    # A client that obeys a pushback waits with the call open, until its deadline if need be: beyond this it need not try.
    LONGEST_PUSHBACK_MS: ClassVar[int] = 10_000

    def __init__(self, budget: str, segment: str, wait_s: float, opens: str) -> None:
        super().__init__(
            f"budgets.{budget}: is used up for segment {segment!r} and opens in {wait_s:.0f} s ({opens}); try again then, "
            f"allow a candidate that it does not cover, raise its limit, or set budgets.{budget}.when_used_up to last_resort."
        )
        self.retry_after_ms = wait_ms = max(1, ceil(wait_s * 1000))
        self.pushback_ms = wait_ms if wait_ms <= self.LONGEST_PUSHBACK_MS else -1


class Unimplemented(RouterError):
    """A method, a compression or a form of call that is not served here."""

    status = "UNIMPLEMENTED"


class TooMany(RouterError):
    """As many calls of this kind are open as may be."""

    status = "RESOURCE_EXHAUSTED"


class Expired(RouterError):
    """The caller's deadline passed before the request's turn came."""

    status = "DEADLINE_EXCEEDED"


class NotFound(RouterError):
    """What the call names is not there."""

    status = "NOT_FOUND"


class Unavailable(RouterError):
    """A part of the sidecar that this call needs is not there just now."""

    status = "UNAVAILABLE"


class Aborted(RouterError):
    """The operation was given up; what ran before runs on."""

    status = "ABORTED"


class Unauthenticated(RouterError):
    """The caller showed no token, or one that is unknown."""

    status = "UNAUTHENTICATED"


class NotPermitted(RouterError):
    """The caller is known, but lacks the role that the method needs."""

    status = "PERMISSION_DENIED"


class ConfigError(RouterError):
    """The configuration file is wrong; the message names the key."""

    status = "FAILED_PRECONDITION"


class BundleError(RouterError):
    """A bundle is refused; the message names the file and the reason."""

    status = "FAILED_PRECONDITION"

"""What can go wrong, with the gRPC status that it becomes at the edge.

Each class carries its status as data, so that one mapping in the lanes serves them all. Messages name the field (or the
file) and the remedy, and never quote a prompt.
"""

from typing import ClassVar


class RouterError(Exception):
    """The root of all errors that are meant for a caller or an operator."""

    status: ClassVar[str] = "INTERNAL"
    # Milliseconds after which a client with a retry policy may try again; negative: it need not; None: as it likes.
    pushback_ms: int | None = None


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
        self.pushback_ms = max(1, round(wait_s * 1000))


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

"""What can go wrong, with the gRPC status that it becomes at the edge.

Each class carries its status as data, so that one mapping in the lanes serves them all. Messages name the field (or the
file) and the remedy, and never quote a prompt.
"""

from typing import ClassVar


class RouterError(Exception):
    """The root of all errors that are meant for a caller or an operator."""

    status: ClassVar[str] = "INTERNAL"


class InvalidRequest(RouterError):
    """The request itself is wrong; sending it again will not help."""

    status = "INVALID_ARGUMENT"


class NoCandidate(RouterError):
    """The request is well formed, but no candidate satisfies its constraints."""

    status = "FAILED_PRECONDITION"


class TooLarge(RouterError):
    """The request is over one of the limits that Info states."""

    status = "RESOURCE_EXHAUSTED"


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

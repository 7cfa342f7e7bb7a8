"""What a request's headers say (RFC 9113, section 8; gRPC over HTTP/2), read once for each distinct block.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from collections.abc import Sequence
from typing import NamedTuple

CONTENT_TYPE = b"application/grpc"
# Of one connection, not of a message (RFC 9113, 8.2.2).
CONNECTION_HEADERS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
REQUIRED = frozenset((b":method", b":scheme", b":path"))
PSEUDO = REQUIRED | {b":authority"}
UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
MOST_TIMEOUT_DIGITS = 8

Headers = Sequence[tuple[bytes, bytes]]


class Malformed(Exception):
    """The headers are none of a request: the stream is reset with PROTOCOL_ERROR."""


class Head(NamedTuple):
    """A request's headers.

    Attributes:
        path: `/package.Service/Method`.
        timeout_s: until the call's deadline, in seconds; None if it has none.
        encoding: how messages with the compressed flag are packed; b"" if that was not said.
        length: of the body as `content-length` says; None if it does not.
        authorization: header, as text; None if there is none.
        fault: what is wrong with it as a gRPC call: "" nothing, "method", "content-type", "timeout".
        bodiless: True if the answer may have no body: the method is HEAD.
    """

    path: bytes
    timeout_s: float | None
    encoding: bytes
    length: int | None
    authorization: str | None
    fault: str
    bodiless: bool = False


def read_head(headers: Headers) -> Head:  # noqa: C901 - one header after the other
    """Reads the headers of a request.

    Raises:
        Malformed: they are none.
    """
    pseudo: dict[bytes, bytes] = {}
    encoding = content_type = b""
    authorization: str | None = None
    timeout_s: float | None = None
    length: int | None = None
    fault = ""
    regular = False
    for name, value in headers:
        if name[:1] == b":":
            if regular or name not in PSEUDO or name in pseudo or not _is_value(value):
                raise Malformed
            pseudo[name] = value
            continue
        regular = True
        check_field(name, value)
        if name == b"content-type":
            content_type = value
        elif name == b"grpc-timeout":
            timeout_s = seconds(value)
            fault = fault or ("timeout" if timeout_s is None else "")
        elif name == b"grpc-encoding":
            encoding = value
        elif name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"content-length":
            length = _content_length(value, length)
    if not REQUIRED.issubset(pseudo) or not pseudo[b":path"]:
        raise Malformed
    if not (
        content_type == CONTENT_TYPE
        or content_type[: len(CONTENT_TYPE) + 1] in (b"application/grpc+", b"application/grpc;")
    ):
        fault = "content-type"
    elif pseudo[b":method"] != b"POST":
        fault = "method"
    return Head(pseudo[b":path"], timeout_s, encoding, length, authorization, fault, pseudo[b":method"] == b"HEAD")


def check_field(name: bytes, value: bytes) -> None:
    """Checks a regular field.

    Raises:
        Malformed: HTTP/2 does not allow it.
    """
    if not name or name in CONNECTION_HEADERS or (name == b"te" and value != b"trailers"):
        raise Malformed
    if name != name.lower() or not _is_token(name):
        raise Malformed
    if not _is_value(value):
        raise Malformed


def check_trailers(headers: Headers) -> None:
    """Checks the headers that end a request after its body.

    Raises:
        Malformed: they are none.
    """
    for name, value in headers:
        if name[:1] == b":":
            raise Malformed
        check_field(name, value)


def seconds(timeout: bytes) -> float | None:
    """The seconds of a `grpc-timeout`; None if it is none."""
    digits, unit = timeout[:-1], UNITS_S.get(timeout[-1:])
    if unit is None or not digits.isdigit() or len(digits) > MOST_TIMEOUT_DIGITS:
        return None
    return int(digits) * unit


def _content_length(value: bytes, before: int | None) -> int:
    if not value.isdigit() or len(value) > 18:  # noqa: PLR2004 - digits beyond any body
        raise Malformed
    length = int(value)
    if before not in (None, length):
        raise Malformed
    return length


def _is_value(value: bytes) -> bool:
    """True if HTTP/2 allows it (RFC 9113, 8.2.1)."""
    return not (
        b"\n" in value or b"\r" in value or b"\0" in value or value[:1] in _WHITESPACE or value[-1:] in _WHITESPACE
    )


_WHITESPACE = (b" ", b"\t")
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def _is_token(name: bytes) -> bool:
    return _TOKEN.issuperset(name)

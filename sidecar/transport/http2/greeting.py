"""The first bytes of a connection: HTTP/2's preface, or something else that deserves an answer."""

import re

from sidecar.transport.http2.frames import PREFACE

TLS_HELLO = b"\x16\x03"
# A request line of HTTP/1, and what may still become one.
HTTP1 = re.compile(rb"[A-Z]{1,16} [^\r\n]{1,8192} HTTP/1\.[0-9]\r?\n")
MAYBE_HTTP1 = re.compile(rb"[A-Z]{1,16}( [^\r\n]{0,8192}\r?)?\Z")
_TEXT = b"This port speaks gRPC over HTTP/2, without upgrade from HTTP/1.1. Try: grpcurl -plaintext HOST:PORT list\n"
HTTP1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(_TEXT)
) + _TEXT


class NotHttp2(Exception):
    """The peer speaks something else.

    Attributes:
        spoken: what it seems to be, for the log.
        answer: what it is told; may be empty.
    """

    def __init__(self, spoken: str, answer: bytes = b"") -> None:
        super().__init__(spoken)
        self.spoken = spoken
        self.answer = answer


def greet(data: bytes) -> bool:
    """True once the preface is there; False while it may still come.

    Raises:
        NotHttp2: it will not.
    """
    if data.startswith(PREFACE):
        return True
    if PREFACE.startswith(data) or MAYBE_HTTP1.match(data):
        return False
    if data.startswith(TLS_HELLO):
        raise NotHttp2("TLS on a port without TLS")
    if HTTP1.match(data):
        raise NotHttp2("HTTP/1.1", HTTP1_ANSWER)
    raise NotHttp2("no HTTP/2")

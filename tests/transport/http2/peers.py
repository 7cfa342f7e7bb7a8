"""A transport on a real port, and peers made by hand that say what they please and look at what comes back."""

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Self

from hpack import Decoder

from benchmarks.hpack import literal
from benchmarks.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WORD,
    frame,
    settings,
)
from sidecar.door.certificates import Certificates
from sidecar.door.settings import LimitsConfig
from sidecar.lanes.health import Health
from sidecar.transport.grpcio.server import GrpcioTransport
from sidecar.transport.http2.server import Http2Transport
from sidecar.transport.transport import Access
from tests.transport.http2.memory import Echo

PATIENCE_S = 20.0
Fields = Sequence[tuple[str, str]]
# What a browser or h2spec asks for, and a gRPC client.
GET: Fields = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "sidecar"))
POST: Fields = ((":method", "POST"), *GET[1:])
CALL: Fields = (
    (":method", "POST"), (":scheme", "http"), (":path", "/test.Test/Unary"), (":authority", "sidecar"),
    ("content-type", "application/grpc"), ("te", "trailers"),
)  # fmt: skip


def block(fields: Fields) -> bytes:
    """Fields as a header block that uses no table."""
    return b"".join(literal(*field) for field in fields)


def head(stream: int, fields: Fields = CALL, flags: int = END_HEADERS) -> bytes:
    """A HEADERS frame; without END_STREAM unless the flags say so."""
    return frame(HEADERS, flags, stream, block(fields))


def asked(stream: int, fields: Fields = GET) -> bytes:
    """A whole request without a body."""
    return head(stream, fields, END_HEADERS | END_STREAM)


def body(stream: int, data: bytes, flags: int = END_STREAM) -> bytes:
    """A DATA frame."""
    return frame(DATA, flags, stream, data)


def grpc(raw: bytes) -> bytes:
    """A message with gRPC's prefix."""
    return b"\0" + WORD.pack(len(raw)) + raw


def call(stream: int, raw: bytes, fields: Fields = CALL) -> bytes:
    """A whole call of one message."""
    return head(stream, fields) + body(stream, grpc(raw))


def widen(stream: int, more: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, WORD.pack(more))


def cancel(stream: int, code: int = 8) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, WORD.pack(code))


class Frame(NamedTuple):
    """One frame of the server's."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Answer(NamedTuple):
    """What came on one stream.

    Attributes:
        fields: headers and trailers.
        body: of all DATA.
        reset: the code that ended it; None if it ended well.
    """

    fields: dict[str, str]
    body: bytes
    reset: int | None

    @property
    def status(self) -> int:
        """Of gRPC."""
        return int(self.fields["grpc-status"])


class Peer:
    """A connection. Reading blocks; None stands for its end.

    Args:
        address: HOST:PORT.
        opening: what is sent first.
    """

    def __init__(self, address: str, opening: bytes = PREFACE + settings()) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self.decoder = Decoder()
        self.seen: list[Frame] = []
        self._buffer = b""
        self.send(opening)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> None:
        """Sends; what the server does not take any more is lost."""
        try:
            self.socket.sendall(b"".join(data))
        except (BrokenPipeError, ConnectionResetError):
            return

    def settle(self) -> None:
        """Waits until the server has sent its settings and acknowledged ours."""
        while not self.until(SETTINGS).flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))

    def read(self) -> Frame | None:
        """The next frame."""
        while len(self._buffer) < 9 or len(self._buffer) < 9 + int.from_bytes(self._buffer[:3], "big"):
            try:
                chunk = self.socket.recv(1 << 16)
            except (ConnectionResetError, BrokenPipeError):
                chunk = b""
            if not chunk:
                return None
            self._buffer += chunk
        size = int.from_bytes(self._buffer[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self._buffer[3:9])
        payload, self._buffer = self._buffer[9 : 9 + size], self._buffer[9 + size :]
        self.seen.append(Frame(kind, flags, stream, payload))
        return self.seen[-1]

    def until(self, kind: int, stream: int | None = None) -> Frame:
        """The next frame of a kind, on a stream if one is named."""
        while (got := self.read()) is not None:
            if got.kind == kind and stream in (None, got.stream):
                return got
        raise AssertionError(f"the connection ended after {self.seen[-5:]}")

    def answer(self, stream: int) -> Answer:
        """Reads all that comes on a stream, up to its end."""
        fields: dict[str, str] = {}
        content = b""
        while (got := self.read()) is not None:
            if got.kind == HEADERS:
                read = {str(name): str(value) for name, value in self.decoder.decode(got.payload)}
                if got.stream == stream:
                    fields |= read
            if got.stream != stream:
                continue
            if got.kind == DATA:
                content += got.payload
            if got.kind == RST_STREAM:
                return Answer(fields, content, WORD.unpack(got.payload)[0])
            if got.flags & END_STREAM and got.kind in (DATA, HEADERS):
                return Answer(fields, content, None)
        raise AssertionError(f"the connection ended after {self.seen[-5:]}")

    def ending(self) -> int | None:
        """Reads to the end of the connection; the code of its GOAWAY, None if there was none."""
        code = None
        while (got := self.read()) is not None:
            if got.kind == GOAWAY:
                code = WORD.unpack(got.payload[4:8])[0]
        return code

    def alive(self) -> list[Frame]:
        """Waits until the server has dealt with all that was sent; gives the frames that came before."""
        self.send(frame(PING, 0, 0, b"all read"))
        before: list[Frame] = []
        while (got := self.read()) is not None:
            if got == Frame(PING, ACK, 0, b"all read"):
                return before
            before.append(got)
        raise AssertionError(f"the connection ended after {self.seen[-5:]}")


class Serving(NamedTuple):
    """A running transport."""

    server: Http2Transport
    services: Echo
    health: Health
    address: str

    def peer(self, opening: bytes = PREFACE + settings()) -> Peer:
        """A connection to it."""
        return Peer(self.address, opening)

    @property
    def notes(self) -> dict[str, int]:
        """Why connections were closed, and how many."""
        return self.server.notes.counts


@contextmanager
def serving(
    transport: Literal["http2", "grpcio"] = "http2",
    *,
    max_message_bytes: int = 1 << 20,
    certificates: Certificates | None = None,
    **limits: Any,
) -> Iterator[Serving]:
    """A transport with `Echo` behind it."""
    services, health = Echo(), Health()
    access = Access(LimitsConfig(**limits), max_message_bytes, certificates)
    server: Any = (Http2Transport if transport == "http2" else GrpcioTransport)(services, access, health)
    address = server.start("127.0.0.1:0")
    try:
        yield Serving(server, services, health, address)
    finally:
        if server.thread.is_alive():  # else the test has drained it
            server.drain(1.0)


Check = Callable[[Peer], None]


def ends(*codes: int | None) -> Check:
    """A check: the connection ends with one of these codes; None is an end without GOAWAY."""

    def check(peer: Peer) -> None:
        code = peer.ending()
        assert code in codes, f"{code} after {peer.seen}"

    return check


def resets(stream: int, *codes: int) -> Check:
    """A check: a stream is reset with one of these codes, and the connection lives on."""

    def check(peer: Peer) -> None:
        assert WORD.unpack(peer.until(RST_STREAM, stream).payload)[0] in codes
        peer.alive()

    return check


def answers(stream: int = 1, status: str = "415") -> Check:
    """A check: a stream is answered with HTTP status and body, and the connection lives on."""

    def check(peer: Peer) -> None:
        answer = peer.answer(stream)
        assert (answer.fields[":status"], answer.reset) == (status, None)
        assert str(len(answer.body)) == answer.fields.get("content-length", str(len(answer.body)))
        assert answer.body
        peer.alive()

    return check


def lives(peer: Peer) -> None:
    """A check: nothing is said, and the connection lives on."""
    assert [got for got in peer.alive() if got.kind in (RST_STREAM, GOAWAY)] == []

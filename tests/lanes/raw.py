"""An HTTP/2 peer made by hand, which does what no gRPC client can be made to do."""

import socket
import struct
from typing import NamedTuple, Self

from benchmarks.hpack import first_block, later_block

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
ACK = 1
END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">HBBBI")  # length (high 16, low 8), type, flags, stream
# Far beyond what the limits under test are set to.
PATIENCE_SECONDS = 30.0


class Frame(NamedTuple):
    """One frame of the peer's."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Raw:
    """A connection of bytes. Reading blocks."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._authority = address
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        self._next_stream = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def frame(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        size = len(payload)
        self.write(HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload)

    def greet(self) -> None:
        """Sends what opens an HTTP/2 connection."""
        self.write(PREFACE)
        self.frame(SETTINGS)

    def open_stream(self, method: str) -> int:
        """Begins a call and leaves it open."""
        stream = self._next_stream
        self._next_stream += 2
        self.frame(HEADERS, END_HEADERS, stream, first_block(method, self._authority) if stream == 1 else later_block())
        return stream

    def read(self) -> Frame | None:
        """The peer's next frame; None once it has closed the connection."""
        try:
            head = self._exactly(HEAD.size)
            if head is None:
                return None
            high, low, kind, flags, stream = HEAD.unpack(head)
            size = high << 8 | low
            payload = self._exactly(size) if size else b""
        except ConnectionResetError:
            return None
        return None if payload is None else Frame(kind, flags, stream, payload)

    def until(self, kind: int) -> Frame | None:
        """The peer's next frame of a kind; None if it closes the connection before."""
        while (frame := self.read()) is not None:
            if frame.kind == kind:
                return frame
        return None

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

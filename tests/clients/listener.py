"""A server that hardly knows HTTP/2: it answers every call with an empty message and keeps the header blocks that came."""

import socket
import struct
import threading
from typing import Self

DATA, HEADERS, SETTINGS, PING, CONTINUATION = 0, 1, 4, 6, 9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">BHBBI")
SETTING = struct.Struct(">HI")
# :status 200 and content-type, then grpc-status 0; no entry goes into the client's table.
REPLY_HEADERS = b"\x88\x0f\x10\x10application/grpc"
REPLY_TRAILERS = b"\x00\x0bgrpc-status\x010"
EMPTY_MESSAGE = b"\0\0\0\0\0"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


class Listener:
    """Listens on a port of its own until it is closed.

    Attributes:
        address: HOST:PORT.
        blocks: header blocks in the order in which they came, of all connections.
        settings: of the first SETTINGS frame, as identifier and value.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.blocks: list[bytes] = []
        self.settings: list[tuple[int, int]] | None = None
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        """Serves one connection after the other."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            with connection:
                try:
                    self._serve(connection)
                except (ConnectionError, EOFError):
                    continue

    def _serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")

        def exactly(size: int) -> bytes:
            data = stream.read(size)
            if len(data) < size:
                raise EOFError
            return data

        assert exactly(len(PREFACE)) == PREFACE
        connection.sendall(frame(SETTINGS, 0, 0))
        block = b""
        while True:
            high, low, kind, flags, number = HEAD.unpack(exactly(HEAD.size))
            payload = exactly(high << 16 | low)
            if kind == SETTINGS and not flags & ACK:
                if self.settings is None:
                    self.settings = list(SETTING.iter_unpack(payload))
                connection.sendall(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                connection.sendall(frame(PING, ACK, 0, payload))
            elif kind in (HEADERS, CONTINUATION):
                block += _block(flags, payload) if kind == HEADERS else payload
                if flags & END_HEADERS:
                    self.blocks.append(block)
                    block = b""
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                connection.sendall(
                    frame(HEADERS, END_HEADERS, number, REPLY_HEADERS)
                    + frame(DATA, 0, number, EMPTY_MESSAGE)
                    + frame(HEADERS, END_HEADERS | END_STREAM, number, REPLY_TRAILERS)
                )


def _block(flags: int, payload: bytes) -> bytes:
    """The part of a HEADERS frame that is header block."""
    start, end = 0, len(payload)
    if flags & PADDED:
        start, end = 1, end - payload[0]
    if flags & PRIORITIZED:
        start += 5
    return payload[start:end]

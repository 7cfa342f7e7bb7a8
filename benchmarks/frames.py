"""A gRPC client that writes HTTP/2 frames itself, for load only.

A client made of grpcio costs as much of a core as the server it measures. A unary call is one HEADERS and one DATA
frame, and its reply three frames; writing and reading just these costs a third of grpc.aio and a tenth of the
synchronous client's futures (measured: 22, 60 and 300 us per call; `latency.py --only clients` repeats the first two).
The parts of HTTP/2 that such calls need are here: flow control both ways, SETTINGS, PING, RST_STREAM, GOAWAY. The
header table of the server's replies is set to zero length, so equal header blocks mean equal headers.
"""

import select
import socket
import struct
import time
from collections.abc import Iterator

from benchmarks.client import UNAVAILABLE, Reply
from benchmarks.hpack import first_block, grpc_status, later_block

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PADDED, PRIORITY = 8, 32
TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW, MAX_FRAME = 1, 2, 4, 5
DEFAULT_WINDOW, LARGEST_WINDOW, DEFAULT_FRAME = 65535, (1 << 31) - 1, 16384
MESSAGE_HEAD = 5  # compressed flag and length before each gRPC message
READ_BYTES = 1 << 18

_HEAD = struct.Struct(">HBBBI")  # length (high 16, low 8), type, flags, stream
_SETTING = struct.Struct(">HI")
_WORD = struct.Struct(">I")


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload


class _Waiting:
    """What is left of a message that the windows hold back, and the window of its stream."""

    __slots__ = ("rest", "window")

    def __init__(self, rest: memoryview, window: int) -> None:
        self.rest = rest
        self.window = window


class Connection:
    """One HTTP/2 connection that carries calls of one method.

    Args:
        host: to connect to.
        port: to connect to.
        method: `/package.Service/Method`.
    """

    def __init__(self, host: str, port: int, method: str) -> None:
        self.socket = socket.create_connection((host, port), timeout=5.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.closed = False
        self._block = first_block(method, f"{host}:{port}")
        self._next_stream = 1
        self._keys: dict[int, int] = {}
        self._bodies: dict[int, bytes] = {}
        self._blocks: dict[int, bytes] = {}
        self._statuses: dict[bytes, int] = {}
        self._blocked: dict[int, _Waiting] = {}  # by stream
        self._window = self._stream_window = DEFAULT_WINDOW
        self._frame_size = DEFAULT_FRAME
        self._unread = bytearray()
        self._credit = 0
        settings = ((TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW, LARGEST_WINDOW))
        body = b"".join(_SETTING.pack(*setting) for setting in settings)
        self._out = bytearray(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, body))
        self._out += _frame(WINDOW_UPDATE, 0, 0, _WORD.pack(LARGEST_WINDOW - DEFAULT_WINDOW))
        self.flush()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def wants_to_write(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return bool(self._out)

    def send(self, payload: bytes, key: int) -> None:
        """Begins a call; its bytes go out at the next flush, so that a burst costs one system call."""
        stream = self._next_stream
        self._next_stream += 2
        self._keys[stream] = key
        block, size = self._block, len(payload) + MESSAGE_HEAD
        if size <= self._window and size <= self._stream_window and size <= self._frame_size:
            self._window -= size
            head, length = _HEAD.pack(0, len(block), HEADERS, END_HEADERS, stream), _WORD.pack(len(payload))
            data = _HEAD.pack(size >> 8, size & 255, DATA, END_STREAM, stream)
            self._out += b"".join((head, block, data, b"\0", length, payload))
        else:
            self._out += _frame(HEADERS, END_HEADERS, stream, block)
            message = b"\0" + _WORD.pack(len(payload)) + payload
            self._blocked[stream] = _Waiting(memoryview(message), self._stream_window)
            self._pump()
        if stream == 1:
            self._block = later_block()

    def flush(self) -> None:
        """Writes what the socket takes."""
        if self.closed or not self._out:
            return
        try:
            sent = self.socket.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            self.closed = True
            return
        del self._out[:sent]

    def read(self) -> Iterator[Reply]:
        """Reads what has come; yields the calls that ended."""
        try:
            chunk = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        at = time.perf_counter()
        if not chunk:
            self.closed = True
            yield from self.abandon(at)
            return
        unread = self._unread
        unread += chunk
        position, end = 0, len(unread)
        while end - position >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(unread, position)
            start = position + _HEAD.size
            stop = start + (high << 8 | low)
            if stop > end:
                break
            position = stop
            payload = bytes(unread[start:stop])
            if kind == DATA:
                self._credit += len(payload)
                body = self._bodies.get(stream)
                self._bodies[stream] = payload if body is None else body + payload
                ended = bool(flags & END_STREAM)
            elif kind in (HEADERS, CONTINUATION):
                ended = self._headers(kind, flags, stream, payload)
            else:
                ended = self._control(kind, flags, stream, payload)
            if ended and stream in self._keys:
                yield self._end(stream, at)
        del unread[:position]
        if self._credit > LARGEST_WINDOW // 4:
            self._out += _frame(WINDOW_UPDATE, 0, 0, _WORD.pack(self._credit))
            self._credit = 0

    def abandon(self, at: float) -> Iterator[Reply]:
        """Ends all calls in flight as UNAVAILABLE: the connection is gone."""
        for key in self._keys.values():
            yield Reply(key, at, UNAVAILABLE, b"")
        self._keys.clear()
        self._blocked.clear()

    def _headers(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        if kind == HEADERS and flags & (PADDED | PRIORITY):
            padding = payload[0] if flags & PADDED else 0
            payload = payload[bool(flags & PADDED) + (5 if flags & PRIORITY else 0) : len(payload) - padding]
        before = self._blocks.get(stream)
        # Only the last block counts: it holds the status, and the one before it nothing that is needed.
        self._blocks[stream] = before + payload if kind == CONTINUATION and before else payload
        return bool(flags & END_STREAM)

    def _end(self, stream: int, at: float) -> Reply:
        self._blocked.pop(stream, None)  # a refusal may come before the whole request has gone
        block = self._blocks.pop(stream, b"")
        status = self._statuses.get(block)
        if status is None:
            status = self._statuses[block] = grpc_status(block)
        return Reply(self._keys.pop(stream), at, status, self._bodies.pop(stream, b"")[MESSAGE_HEAD:])

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        if kind == SETTINGS and not flags & ACK:
            for place in range(0, len(payload), _SETTING.size):
                self._setting(*_SETTING.unpack_from(payload, place))
            self._out += _frame(SETTINGS, ACK, 0)
            self._pump()
        elif kind == PING and not flags & ACK:
            self._out += _frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            (more,) = _WORD.unpack(payload)
            if stream == 0:
                self._window += more
            elif stream in self._blocked:
                self._blocked[stream].window += more
            self._pump()
        elif kind == RST_STREAM:
            # NO_ERROR after a whole reply only says that the rest of the request is not wanted.
            if stream in self._keys:
                self._blocks.setdefault(stream, b"")
            return True
        elif kind == GOAWAY:
            self.closed = True
        return False

    def _setting(self, name: int, value: int) -> None:
        if name == INITIAL_WINDOW:
            for waiting in self._blocked.values():
                waiting.window += value - self._stream_window
            self._stream_window = value
        elif name == MAX_FRAME:
            self._frame_size = value

    def _pump(self) -> None:
        """Sends as much of the waiting messages as the windows allow."""
        for stream, waiting in list(self._blocked.items()):
            while size := max(0, min(len(waiting.rest), waiting.window, self._window, self._frame_size)):
                piece, waiting.rest = bytes(waiting.rest[:size]), waiting.rest[size:]
                self._out += _frame(DATA, 0 if waiting.rest else END_STREAM, stream, piece)
                waiting.window -= size
                self._window -= size
            if not waiting.rest:
                del self._blocked[stream]


class FramesClient:
    """Makes calls over several connections in turn.

    Args:
        address: HOST:PORT.
        method: `/package.Service/Method`.
        connections: how many.
    """

    def __init__(self, address: str, method: str, connections: int = 1) -> None:
        host, _, port = address.rpartition(":")
        self._connections = [Connection(host, int(port), method) for _ in range(connections)]
        self._sockets = {connection.socket: connection for connection in self._connections}
        self._turn = 0
        self._lost: list[Reply] = []

    def send(self, payload: bytes, key: int) -> None:
        """Begins a call on the next connection that is open; it is UNAVAILABLE if none is."""
        for _ in self._connections:
            self._turn = (self._turn + 1) % len(self._connections)
            connection = self._connections[self._turn]
            if not connection.closed:
                connection.send(payload, key)
                return
        self._lost.append(Reply(key, time.perf_counter(), UNAVAILABLE, b""))

    def wait(self, timeout_s: float) -> list[Reply]:
        """Waits at most timeout_s for replies; returns those that have come."""
        if self._lost:
            lost, self._lost = self._lost, []
            return lost
        for connection in self._connections:
            connection.flush()
        writing = [connection.socket for connection in self._connections if connection.wants_to_write]
        # select, not epoll: its timeout is in microseconds, epoll's in milliseconds.
        readable, writable, _ = select.select(list(self._sockets), writing, [], max(0.0, timeout_s))
        for ready in writable:
            self._sockets[ready].flush()
        replies: list[Reply] = []
        for ready in readable:
            connection = self._sockets[ready]
            replies += connection.read()
            if connection.closed and not len(connection):
                del self._sockets[ready]
                connection.socket.close()
        return replies

    def close(self) -> None:
        """Ends all connections."""
        for connection in self._connections:
            connection.closed = True
            connection.socket.close()

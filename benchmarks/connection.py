"""One HTTP/2 connection that carries unary gRPC calls, as a gRPC client would use it.

The parts of HTTP/2 that such calls need are here: flow control both ways, SETTINGS, PING, RST_STREAM, GOAWAY. The
header table of the server's replies is set to zero length, so equal header blocks mean equal headers.
"""

import math
import socket
import time
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from benchmarks.client import DEADLINE_EXCEEDED, UNAVAILABLE, Reply
from benchmarks.hpack import first_block, grpc_status, later_block, timeout_field
from benchmarks.http2 import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST_WINDOW,
    MAX_FRAME,
    MAX_STREAMS,
    MESSAGE_HEAD,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTING,
    SETTINGS,
    TABLE_SIZE,
    WINDOW_UPDATE,
    WORD,
    frame,
    message,
    settings,
)

READ_BYTES = 1 << 18
CONNECT_S = 5.0
UNLIMITED = 1 << 31
NEVER = math.inf


class Call(NamedTuple):
    """A call that waits in the client until the server allows one more stream.

    Attributes:
        payload: the serialised request.
        key: of the caller.
        expires: clock reading at which it ends as DEADLINE_EXCEEDED; inf if it has no deadline.
    """

    payload: bytes
    key: int
    expires: float


class _Blocked:
    """What is left of a message that the windows hold back, and the window of its stream."""

    __slots__ = ("rest", "window")

    def __init__(self, rest: memoryview, window: int) -> None:
        self.rest = rest
        self.window = window


class Connection:
    """Carries calls of one method.

    Like grpc's own clients it begins no call before the server's SETTINGS have come, nor more at a time than these
    allow: calls beyond wait in line. A call whose deadline passes is cancelled.

    Args:
        host: to connect to.
        port: to connect to.
        method: `/package.Service/Method`.
        wait: until it is connected; else that comes about while calls stand in line.

    Attributes:
        open: calls may be begun here.
        closed: nothing more comes or goes. Neither open nor closed: the calls in flight may end, further ones are not
            wanted.
        ready: the server's SETTINGS have come.
    """

    def __init__(self, host: str, port: int, method: str, *, wait: bool = True) -> None:
        self.open = True
        self.closed = self.ready = False
        if wait:
            self.socket = socket.create_connection((host, port), timeout=CONNECT_S)
        else:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.socket = socket.socket(family, kind)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        if not wait:
            self.socket.connect_ex(address)  # what comes of it is learned by reading
        self._block = first_block(method, f"{host}:{port}")
        self._next_stream = 1
        self._room = 0  # streams that may be open at a time
        self._line: deque[Call] = deque()
        self._keys: dict[int, int] = {}  # of open streams
        self._streams: dict[int, int] = {}  # by key; 0 while in line
        self._deadlines: list[tuple[float, int]] = []  # heap of (expires, key), also of calls that have ended
        self._began: dict[int, float] = {}  # by stream, of calls that stood in line
        self._bodies: dict[int, bytes] = {}
        self._blocks: dict[int, bytes] = {}
        self._statuses: dict[bytes, int] = {}
        self._blocked: dict[int, _Blocked] = {}  # by stream
        self._window = self._stream_window = DEFAULT_WINDOW
        self._frame_size = DEFAULT_FRAME
        self._unread = bytearray()
        self._credit = 0
        self._out = bytearray(PREFACE + settings((TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW, LARGEST_WINDOW)))
        self._out += frame(WINDOW_UPDATE, 0, 0, WORD.pack(LARGEST_WINDOW - DEFAULT_WINDOW))
        self.flush()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def wants_to_write(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return bool(self._out)

    def send(self, payload: bytes, key: int, expires: float = NEVER, timeout: bytes = b"") -> None:
        """Begins a call, or puts it in line; its bytes go out at the next flush, so that a burst costs one system call.

        Args:
            payload: the serialised request.
            key: no other call that is under way has it.
            expires: see Call.
            timeout: its header field grpc-timeout, if it has a deadline.
        """
        if expires != NEVER:
            heappush(self._deadlines, (expires, key))
        if len(self._keys) < self._room:
            self._begin(payload, key, timeout)
        else:
            self._streams[key] = 0
            self._line.append(Call(payload, key, expires))

    def _begin(self, payload: bytes, key: int, timeout: bytes) -> int:
        stream = self._next_stream
        self._next_stream += 2
        self._keys[stream] = key
        self._streams[key] = stream
        block, size = self._block + timeout, len(payload) + MESSAGE_HEAD
        if size <= self._window and size <= self._stream_window and size <= self._frame_size:
            self._window -= size
            head, length = HEAD.pack(0, len(block), HEADERS, END_HEADERS, stream), WORD.pack(len(payload))
            data = HEAD.pack(size >> 8, size & 255, DATA, END_STREAM, stream)
            self._out += b"".join((head, block, data, b"\0", length, payload))
        else:
            self._out += frame(HEADERS, END_HEADERS, stream, block)
            self._blocked[stream] = _Blocked(memoryview(message(payload)), self._stream_window)
            self._pump()
        if stream == 1:
            self._block = later_block()
        return stream

    def _advance(self, now: float) -> None:
        """Begins calls that stand in line, as far as there is room."""
        while self._line and len(self._keys) < self._room:
            payload, key, expires = self._line.popleft()
            if self._streams.get(key) == 0:  # else it has expired
                timeout = b"" if expires == NEVER else timeout_field(expires - now)
                self._began[self._begin(payload, key, timeout)] = now

    def flush(self) -> None:
        """Writes what the socket takes."""
        if self.closed or not self._out:
            return
        try:
            sent = self.socket.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            return  # reading tells, after what had come before
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
            self.open, self.closed = False, True
            yield from self._abandon(at)
            return
        unread = self._unread
        unread += chunk
        yield from self._parse(unread, at)
        if self._line:
            self._advance(at)
        if self._credit > LARGEST_WINDOW // 4:
            self._out += frame(WINDOW_UPDATE, 0, 0, WORD.pack(self._credit))
            self._credit = 0

    def _parse(self, unread: bytearray, at: float) -> Iterator[Reply]:
        position, end = 0, len(unread)
        while end - position >= HEAD.size:
            high, low, kind, flags, stream = HEAD.unpack_from(unread, position)
            start = position + HEAD.size
            stop = start + (high << 8 | low)
            if stop > end:
                break
            position = stop
            payload = bytes(unread[start:stop])
            if kind == DATA:
                ended = self._data(flags, stream, payload)
            elif kind in (HEADERS, CONTINUATION):
                ended = self._headers(kind, flags, stream, payload)
            else:
                ended = self._control(kind, flags, stream, payload)
            if ended and stream in self._keys:
                yield self._end(stream, at)
        del unread[:position]

    def next_deadline(self) -> float:
        """When the next call expires; inf if none does."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self._streams:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else NEVER

    def expire(self, now: float) -> Iterator[Reply]:
        """Ends the calls whose deadline has passed; the server is told of those that it knows."""
        while self.next_deadline() <= now:
            _, key = heappop(self._deadlines)
            stream = self._streams[key]
            if stream:
                self._out += frame(RST_STREAM, 0, stream, WORD.pack(CANCEL))
                yield self._end(stream, now, DEADLINE_EXCEEDED)
            else:
                del self._streams[key]
                yield Reply(key, now, DEADLINE_EXCEEDED, b"", math.nan)
        if self._line:
            self._advance(now)

    def stranded(self) -> list[Call]:
        """Takes the calls out of the line of a connection that begins no more: the server never heard of them."""
        calls = [call for call in self._line if self._streams.get(call.key) == 0]
        self._line.clear()
        for call in calls:
            del self._streams[call.key]
        return calls

    def _abandon(self, at: float) -> Iterator[Reply]:
        """Ends all calls in flight as UNAVAILABLE: the connection is gone."""
        for stream in list(self._keys):
            yield self._end(stream, at, UNAVAILABLE)

    def _data(self, flags: int, stream: int, payload: bytes) -> bool:
        self._credit += len(payload)
        if stream in self._keys:  # else it was cancelled
            body = self._bodies.get(stream)
            self._bodies[stream] = payload if body is None else body + payload
        return bool(flags & END_STREAM)

    def _headers(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        if stream not in self._keys:  # cancelled
            return False
        if kind == HEADERS and flags & (PADDED | PRIORITY):
            padding = payload[0] if flags & PADDED else 0
            payload = payload[bool(flags & PADDED) + (5 if flags & PRIORITY else 0) : len(payload) - padding]
        before = self._blocks.get(stream)
        # Only the last block counts: it holds the status, and the one before it nothing that is needed.
        self._blocks[stream] = before + payload if kind == CONTINUATION and before else payload
        return bool(flags & END_STREAM)

    def _end(self, stream: int, at: float, status: int | None = None) -> Reply:
        if self._blocked:
            self._blocked.pop(stream, None)  # a refusal may come before the whole request has gone
        block = self._blocks.pop(stream, b"")
        body = self._bodies.pop(stream, b"")[MESSAGE_HEAD:]
        if status is None:
            status = self._statuses.get(block)
            if status is None:
                status = self._statuses[block] = grpc_status(block)
        else:
            body = b""
        key = self._keys.pop(stream)
        del self._streams[key]
        return Reply(key, at, status, body, self._began.pop(stream, 0.0) if self._began else 0.0)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        if kind == SETTINGS and not flags & ACK:
            self._settle(payload)
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            (more,) = WORD.unpack(payload)
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
            self.open, self._room = False, 0
        return False

    def _settle(self, payload: bytes) -> None:
        if not self.ready:
            self.ready, self._room = True, UNLIMITED
        for place in range(0, len(payload), SETTING.size):
            self._setting(*SETTING.unpack_from(payload, place))
        self._out += frame(SETTINGS, ACK, 0)
        self._pump()

    def _setting(self, name: int, value: int) -> None:
        if name == INITIAL_WINDOW:
            for waiting in self._blocked.values():
                waiting.window += value - self._stream_window
            self._stream_window = value
        elif name == MAX_FRAME:
            self._frame_size = value
        elif name == MAX_STREAMS and self.open:
            self._room = value

    def _pump(self) -> None:
        """Sends as much of the waiting messages as the windows allow, oldest first."""
        whole = []
        for stream, waiting in self._blocked.items():
            if self._window <= 0:
                break  # an overloaded server opens it late, and thousands may wait
            while size := max(0, min(len(waiting.rest), waiting.window, self._window, self._frame_size)):
                piece, waiting.rest = bytes(waiting.rest[:size]), waiting.rest[size:]
                self._out += frame(DATA, 0 if waiting.rest else END_STREAM, stream, piece)
                waiting.window -= size
                self._window -= size
            if not waiting.rest:
                whole.append(stream)
        for stream in whole:
            del self._blocked[stream]

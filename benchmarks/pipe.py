"""One connection of a flood: calls in line, calls begun, and what became of them, as arrays.

It does as gRPC's own clients do (see benchmarks.connection): it waits for the server's SETTINGS, keeps to the server's
bound of streams and to its window, gives up calls at their deadline, in line or begun, and cancels the latter. A lost
connection is made anew; its calls are UNAVAILABLE.
"""

import socket
import time
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import DEADLINE_EXCEEDED, OK, UNANSWERED, UNAVAILABLE
from benchmarks.hpack import grpc_status
from benchmarks.http2 import (
    ACK,
    DATA,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST_WINDOW,
    MAX_STREAMS,
    MESSAGE_HEAD,
    PING,
    PREFACE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    TABLE_SIZE,
    WINDOW_UPDATE,
    WORD,
    frame,
    settings,
)
from benchmarks.schedule import Seconds
from benchmarks.stencil import Numbers, Stencil, cancels

# Small, so that what is due meanwhile is not late for long.
READ_BYTES = 1 << 14
CONNECT_S = 5.0
UNLIMITED = 1 << 31
# Beyond so many bytes that the socket does not take no call is begun: a client's transport is not writable then.
MOST_UNSENT = 1 << 18
GREETING = (
    PREFACE
    + settings((TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW, LARGEST_WINDOW))
    + frame(WINDOW_UPDATE, 0, 0, WORD.pack(LARGEST_WINDOW - DEFAULT_WINDOW))
)
NEVER = float("inf")


@dataclass(frozen=True)
class Record:
    """What became of N calls; see benchmarks.samples.Samples. Times are seconds since the start."""

    due: Seconds
    sent: Seconds
    written: Seconds
    done: Seconds
    status: NDArray[np.int64]
    bodies: list[bytes]


class Pipe:
    """A connection.

    Args:
        address: HOST:PORT.
        stencil: makes the bytes.
        record: of all calls of the flood.
        calls: [K] the numbers of those that go over this connection, ascending.
        deadline_s: of each call.

    Attributes:
        next_event: seconds since the start when something is to be done without anything having come.
        missing: calls whose end is not known.
        reconnects: how often the server ended the connection.
    """

    def __init__(self, address: str, stencil: Stencil, record: Record, calls: Numbers, deadline_s: float) -> None:
        host, _, port = address.rpartition(":")
        self._where = host, int(port)
        self._stencil = stencil
        self._record = record
        self._calls = calls
        self._due: list[float] = record.due[calls].tolist()
        self._sent: Seconds = np.zeros(len(calls))  # when each was handed over; ascending
        self._deadline_s = deadline_s
        self._handed = self._head = 0  # in line: calls [head, handed)
        self.missing = len(calls)
        self.reconnects = -1
        self._statuses: dict[bytes, int] = {}
        self.next_event = 0.0
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(self._where, timeout=CONNECT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._begun: list[int] = []  # places in `calls`, by stream: 1, 3, 5, ...
        self._oldest = 0  # all begun before have ended
        self._open = 0
        self._most = 0
        self._ready = False
        self._window = DEFAULT_WINDOW
        self._credit = 0
        self._unread = b""
        self._out = bytearray(GREETING)
        self.reconnects += 1
        self.flush()

    @property
    def wants_to_write(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return bool(self._out)

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()

    def advance(self, now: float) -> None:
        """Hands over what is due, gives up what is late, begins what may begin."""
        handed = bisect_right(self._due, now, self._handed)
        if handed > self._handed:
            self._sent[self._handed : handed] = now
            self._record.sent[self._calls[self._handed : handed]] = now
            self._handed = handed
        self._expire(now)
        room = min(self._handed - self._head, self._most - self._open, self._window // self._stencil.data_bytes)
        if room > 0 and len(self._out) < MOST_UNSENT:
            self._begin(room, now)
        if self._out:
            self.flush()
        self.next_event = self._due[handed] if handed < len(self._due) else NEVER
        waiting = [self._sent[self._head]] if self._head < self._handed else []
        if self._oldest < len(self._begun):
            waiting.append(self._sent[self._begun[self._oldest]])
        if waiting:
            self.next_event = min(self.next_event, float(min(waiting)) + self._deadline_s)

    def _expire(self, now: float) -> None:
        late = now - self._deadline_s
        record = self._record
        if self._head < self._handed and self._sent[self._head] <= late:
            cut = self._head + int(np.searchsorted(self._sent[self._head : self._handed], late, "right"))
            gone = self._calls[self._head : cut]
            record.status[gone], record.done[gone], record.written[gone] = DEADLINE_EXCEEDED, now, np.nan
            self.missing -= len(gone)
            self._head = cut
        self._pass_ended()
        if self._oldest < len(self._begun) and self._sent[self._begun[self._oldest]] <= late:
            places = np.array(self._begun[self._oldest :])
            count = int(np.searchsorted(self._sent[places], late, "right"))
            numbers = self._calls[places[:count]]
            cancelled = record.status[numbers] == UNANSWERED
            gone = numbers[cancelled]
            record.status[gone], record.done[gone] = DEADLINE_EXCEEDED, now
            streams = (self._oldest + np.flatnonzero(cancelled)) * 2 + 1
            self._out += cancels(streams)
            self.missing -= len(gone)
            self._open -= len(gone)
            self._oldest += count

    def _pass_ended(self) -> None:
        """Moves on to the oldest call that has not ended."""
        status, calls, begun = self._record.status, self._calls, self._begun
        oldest, count = self._oldest, len(begun)
        while oldest < count and status[calls[begun[oldest]]] != UNANSWERED:
            oldest += 1
        self._oldest = oldest

    def _begin(self, count: int, now: float) -> None:
        places = np.arange(self._head, self._head + count)
        numbers = self._calls[places]
        left_ms = np.ceil((self._sent[places] + self._deadline_s - now) * 1e3).astype(np.int64)
        first = len(self._begun)
        streams = (first + np.arange(count)) * 2 + 1
        if not first:
            self._out += self._stencil.first(int(numbers[0]), 1, int(left_ms[0]))
        later = slice(0 if first else 1, None)
        if len(numbers[later]):
            self._out += self._stencil.later(numbers[later], streams[later], left_ms[later])
        self._record.written[numbers] = now
        self._begun += places.tolist()
        self._head += count
        self._open += count
        self._window -= count * self._stencil.data_bytes

    def flush(self) -> None:
        """Writes what the socket takes."""
        try:
            sent = self.socket.send(self._out)
        except OSError:  # blocked, or lost: reading tells
            return
        del self._out[:sent]

    def read(self, start: float) -> None:
        """Reads what has come.

        Args:
            start: clock reading at the start.
        """
        try:
            chunk = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        now = time.perf_counter() - start
        if not chunk:
            self._lose(now)
            return
        data = self._unread + chunk
        position, end = 0, len(data)
        while end - position >= HEAD.size:
            high, low, kind, flags, stream = HEAD.unpack_from(data, position)
            begin = position + HEAD.size
            stop = begin + (high << 8 | low)
            if stop > end:
                break
            position = stop
            if kind == DATA:
                self._credit += stop - begin
                number = self._calls[self._begun[stream >> 1]]
                self._record.bodies[number] += data[begin:stop]
            elif kind == HEADERS:
                if flags & END_STREAM:
                    self._end(stream, data[begin:stop], now)
            else:
                self._control(kind, flags, stream, data[begin:stop], now)
        self._unread = data[position:]
        if self._credit > LARGEST_WINDOW // 4:
            self._out += frame(WINDOW_UPDATE, 0, 0, WORD.pack(self._credit))
            self._credit = 0

    def _end(self, stream: int, block: bytes, now: float, status: int | None = None) -> None:
        record, number = self._record, int(self._calls[self._begun[stream >> 1]])
        if record.status[number] != UNANSWERED:
            if record.status[number] != OK:  # cancelled
                record.bodies[number] = b""
            return
        if status is None:
            status = self._statuses.get(block)
            if status is None:
                status = self._statuses[block] = grpc_status(block)
        record.status[number], record.done[number] = status, now
        record.bodies[number] = record.bodies[number][MESSAGE_HEAD:] if status == OK else b""
        self._open -= 1
        self.missing -= 1

    def _control(self, kind: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        if kind == SETTINGS and not flags & ACK:
            if not self._ready:
                self._ready, self._most = True, UNLIMITED
            for place in range(0, len(payload), SETTING.size):
                name, value = SETTING.unpack_from(payload, place)
                if name == MAX_STREAMS:
                    self._most = value
            self._out += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE and not stream:
            self._window += WORD.unpack(payload)[0]
        elif kind == RST_STREAM:
            self._end(stream, b"", now, UNAVAILABLE)
        elif kind == GOAWAY:
            self._most = 0

    def _lose(self, now: float) -> None:
        """Ends what was begun, and connects anew."""
        self.socket.close()
        record = self._record
        numbers = self._calls[np.array(self._begun[self._oldest :], np.int64)]
        gone = numbers[record.status[numbers] == UNANSWERED]
        record.status[gone], record.done[gone] = UNAVAILABLE, now
        self.missing -= len(gone)
        self._connect()

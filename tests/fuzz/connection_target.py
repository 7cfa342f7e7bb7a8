"""Bytes of a peer through a whole HTTP/2 connection, and what must hold whatever they are.

An input is a byte that says how the connection begins, and what the peer does. Of the two bytes in front of each step two bits
say what it is; the others are the length of what it sends, which may be more than is there, which time passes, or whether calls wait.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from benchmarks.http2 import CONTINUATION, DATA, END_STREAM, HEADERS, PREFACE, RST_STREAM, settings
from sidecar.transport.http2 import connection
from tests.fuzz.target import Broken
from tests.transport.http2.memory import Line, Memory, left_on

SEND, WAIT, BUSY, STOP_READING = range(4)
# How it begins: with a preface and settings, or with what is sent.
GREETED = 1
MOST_PIECE = (1 << 14) - 1
# Bytes that are a backlog, and how many of them are taken all the same.
BACKLOG = 300, 100
WAITED_S = (0.05, 2.0, 15.0, 100.0)
# Processor time of one input, at most: what a flood within the budget costs, many times over.
MOST_SECONDS, MOST_SECONDS_PER_BYTE = 0.5, 2e-5


class Step(NamedTuple):
    """One thing that a peer does."""

    action: int
    data: bytes = b""


def framed(steps: Iterable[Step], *, greeted: bool = True) -> bytes:
    """An input that holds these steps."""
    pieces = [bytes((GREETED if greeted else 0,))]
    for action, data in steps:
        if action != SEND:
            pieces.append((action << 14 | (data[0] if data else 0)).to_bytes(2, "big"))
            continue
        for at in range(0, max(1, len(data)), MOST_PIECE):
            piece = data[at : at + MOST_PIECE]
            pieces.append((action << 14 | len(piece)).to_bytes(2, "big") + piece)
    return b"".join(pieces)


def steps_of(data: bytes) -> Iterator[Step]:
    """The steps of an input, without its first byte."""
    at = 1
    while at + 1 < len(data):
        told = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if told >> 14 == SEND:
            yield Step(SEND, data[at : at + (told & MOST_PIECE)])
            at += told & MOST_PIECE
        else:
            yield Step(told >> 14, bytes((told % len(WAITED_S),)))


def eager() -> "ConnectionTarget":
    """A target that turns calls away as soon as a few have gathered; for all of this process."""
    connection.BACKLOG_BYTES, connection.FRESH_BYTES = BACKLOG
    return ConnectionTarget()


class ConnectionTarget:
    """A transport in memory. Call it with inputs; it raises Broken where something did not hold."""

    def __init__(self) -> None:
        self._memory = Memory(max_message_bytes=4096, max_metadata_bytes=2048, max_concurrent_streams=8)
        self._log = _Log()
        logging.getLogger("sidecar").addHandler(self._log)

    def __call__(self, data: bytes) -> None:
        """Sends one input through.

        Raises:
            Broken: with what did not hold.
        """
        if not data:
            return
        memory = self._memory
        self._log.lines.clear()
        memory.services.busy = memory.services.crowded = False
        began = time.thread_time()
        line = memory.line()
        said = [line.send(PREFACE + settings())] if data[0] & GREETED else []
        for step in steps_of(data):
            said.append(self._done(line, step))
            if line.wire.closed:
                break
        memory.services.busy = False
        said.append(line.wire.take())
        line.wire.dead = False
        line.lose()
        spent = time.thread_time() - began
        if spent > MOST_SECONDS + MOST_SECONDS_PER_BYTE * len(data):
            raise Broken(f"{len(data)} bytes took {spent:.2f} s of the processor")
        left = {**left_on(line.connection), **memory.left_behind()}
        if left:
            raise Broken(f"left behind: {left}")
        if self._log.lines:
            raise Broken(f"logged: {self._log.lines}")
        check(b"".join(said), whole=bool(data[0] & GREETED))

    def _done(self, line: Line, step: Step) -> bytes:
        if step.action == SEND:
            return line.send(step.data)
        if step.action == WAIT:
            self._memory.wait(WAITED_S[step.data[0]])
        elif step.action == BUSY:
            services = self._memory.services
            services.busy, services.crowded = bool(step.data[0] & 1), bool(step.data[0] & 2)
        else:
            line.wire.dead = True
        return b""


def check(said: bytes, *, whole: bool) -> None:
    """Looks at what a connection wrote.

    Args:
        said: all of it.
        whole: False if it may be something else than frames.

    Raises:
        Broken: it is not what HTTP/2 allows.
    """
    if not whole:
        return
    begun: set[int] = set()
    ended: set[int] = set()
    at = 0
    while at < len(said):
        size, kind, flags = int.from_bytes(said[at : at + 3], "big"), said[at + 3], said[at + 4]
        stream = int.from_bytes(said[at + 5 : at + 9], "big")
        at += 9 + size
        if at > len(said):
            raise Broken("a frame is cut off")
        if kind == HEADERS:
            begun.add(stream)
        elif kind in (DATA, CONTINUATION) and stream not in begun:
            raise Broken(f"a frame of kind {kind} before the headers of stream {stream}")
        if kind in (DATA, HEADERS) and stream in ended:
            raise Broken(f"a frame of kind {kind} after the end of stream {stream}")
        if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            ended.add(stream)


class _Log(logging.Handler):
    """Keeps what is logged as an error: nothing that comes from outside may be one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

"""Where the fuzzer of connections begins: calls of each kind, each frame, and the ways in which a connection ends."""

from benchmarks.http2 import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    TABLE_SIZE,
    frame,
    settings,
)
from tests.fuzz.connection_target import BUSY, SEND, STOP_READING, WAIT, Step, framed
from tests.transport.http2.memory import COLD, FAILING, HEALTH_WATCH, REFLECTION, STREAM, UNARY, WATCH, wanted
from tests.transport.http2.peers import CALL, Fields, asked, block, body, call, cancel, grpc, head, widen

# Indexed names, then the same call by its entries in the table.
FIRST = b"\x83\x86\x44\x10/test.Test/Unary\x41\x01x\x5f\x10application/grpc\x40\x02te\x08trailers"
LATER = b"\x83\x86\xc1\xc0\xbf\xbe"


def _to(path: str, *extra: tuple[str, str]) -> Fields:
    return (*CALL[:2], (":path", path), *CALL[3:], *extra)


def seeds() -> list[bytes]:
    """Inputs of connection_target."""
    message = grpc(wanted(40, b"seed"))
    paths = (UNARY, STREAM, COLD, FAILING, WATCH, HEALTH_WATCH, REFLECTION)
    sent = [
        *(call(1, wanted(40, b"seed"), _to(path)) for path in paths),
        frame(HEADERS, END_HEADERS, 1, FIRST)
        + body(1, message)
        + frame(HEADERS, END_HEADERS, 3, LATER)
        + body(3, message),
        head(1, _to(STREAM)) + body(1, message[:7], 0) + body(1, message[7:] + message, 0) + body(1, b""),
        head(1) + frame(0, PADDED | END_STREAM, 1, b"\3" + message + bytes(3)),
        frame(HEADERS, PADDED | PRIORITY | END_HEADERS, 1, b"\1" + bytes(4) + b"\7" + block(CALL) + b"\0") + cancel(1),
        frame(HEADERS, 0, 1, block(CALL)[:9]) + frame(CONTINUATION, END_HEADERS, 1, block(CALL)[9:]) + body(1, message),
        head(1, (*CALL, ("grpc-timeout", "1S"), ("grpc-encoding", "gzip"))) + body(1, b"\1" + message[1:]),
        head(1, (*CALL, ("content-length", "53"))) + body(1, message) + asked(3, (("x", "y"),)),
        settings((INITIAL_WINDOW, 9), (MAX_FRAME, 16_384), (TABLE_SIZE, 0))
        + call(1, wanted(90))
        + widen(1, 9)
        + widen(0, 9),
        frame(PING, 0, 0, b"12345678")
        + frame(2, 0, 1, bytes(5))
        + frame(0x77, 0, 0, b"x")
        + settings()
        + frame(4, ACK, 0),
        call(1, wanted(5)) + frame(GOAWAY, 0, 0, bytes(8)) + call(3, wanted(5)),
        asked(1) + head(3) + body(3, b"\0\0", 0) + asked(3, (("x", "y"),)) + widen(3, 0) + body(5, b"x"),
    ]
    first = (
        frame(HEADERS, END_HEADERS, 1, FIRST)
        + body(1, message)
        + frame(HEADERS, END_HEADERS, 3, LATER)
        + body(3, message)
    )
    later = b"".join(frame(HEADERS, END_HEADERS, at, LATER) + body(at, message) for at in range(5, 25, 2))
    return [
        b"",
        framed([Step(SEND, PREFACE + settings() + sent[0])], greeted=False),
        framed([Step(SEND, b"GET / HTTP/1.1\r\n\r\n")], greeted=False),
        *(framed([Step(SEND, data)]) for data in sent),
        *(framed([Step(SEND, data[:30]), Step(SEND, data[30:]), Step(WAIT), Step(SEND, data)]) for data in sent),
        framed([Step(BUSY, b"\1"), Step(SEND, sent[0] + sent[1]), Step(WAIT), Step(BUSY), Step(SEND, cancel(1))]),
        framed([Step(SEND, first), Step(BUSY, b"\3"), Step(SEND, later), Step(BUSY), Step(SEND, later[:400])]),
        framed([Step(STOP_READING), Step(SEND, call(1, wanted(1 << 20))), Step(WAIT)]),
    ]

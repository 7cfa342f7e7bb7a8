"""Peers that hold on to what they get: each kind has its bound in bytes, streams or seconds, and the others are served."""

import logging
import tracemalloc

import pytest

from benchmarks.http2 import (
    ACK,
    CONTINUATION,
    GOAWAY,
    INITIAL_WINDOW,
    PING,
    PREFACE,
    WORD,
    frame,
    settings,
)
from sidecar.transport.http2 import greeting, lifetime, sender, server, streams
from sidecar.transport.http2.connection import SLOWEST_READER_BYTES, Connection
from sidecar.transport.http2.lifetime import HEARD_S, LINGER_BYTES, LINGER_S, STARVED_S
from sidecar.transport.http2.opening import SLOW_READER_BYTES
from sidecar.transport.http2.server import UNREAD_OF_ALL
from tests.transport.http2.memory import (
    STREAM,
    UNARY,
    Line,
    Memory,
    left_on,
    wanted,
)
from tests.transport.http2.peers import CALL, Peer, body, call, grpc, head, serving, to, widen
from tests.transport.http2.reading import frames, last_code, status

PROTOCOL, COMPRESSION, CALM = 1, 9, 11
LARGEST = (1 << 31) - 1


# Windows that do not open, and peers that do not read.


def test_a_peer_that_never_opens_its_window_is_closed_after_a_while_and_not_before(memory: Memory) -> None:
    line = memory.opened()
    line.send(settings((INITIAL_WINDOW, 0)) + call(1, wanted(1000)))
    assert line.connection.pending == 1005
    memory.wait(STARVED_S * 0.9)
    assert not line.wire.closed
    line.send(widen(1, 5))
    memory.wait(STARVED_S * 0.9)
    assert not line.wire.closed
    memory.wait(STARVED_S * 0.2)
    assert last_code(line.wire.take()) == CALM
    assert memory.server.notes.counts == {"windows that do not open": 1}
    assert left_on(line.connection) == {}


def test_replies_that_windows_hold_back_are_bounded(memory: Memory) -> None:
    line = memory.opened()
    line.send(settings((INITIAL_WINDOW, 0)))
    number = 1
    while line.connection.pending < SLOW_READER_BYTES:
        line.send(call(number, wanted(1 << 22)))
        number += 2
    assert line.connection.pending < 1.5 * SLOW_READER_BYTES
    assert status(line.send(call(number, wanted(10))), number) == 8
    line.send(head(number + 2, to(STREAM)))
    assert not line.wire.closed


def test_answers_of_a_stream_that_are_not_read_are_bounded_and_end_the_connection(memory: Memory) -> None:
    line = memory.opened()
    line.send(settings((INITIAL_WINDOW, 0)) + head(1, to(STREAM)))
    sent = 0
    while not line.wire.closed:
        last = line.send(body(1, grpc(wanted(1 << 20)), 0))
        sent += 1
        assert sent <= (SLOWEST_READER_BYTES >> 20) + 2
    assert last_code(last) == CALM
    assert memory.server.notes.counts == {"replies are not read": 1}
    assert left_on(line.connection) == {}


def test_a_stream_whose_answers_wait_is_not_told_to_send_on(memory: Memory) -> None:
    line = memory.opened()
    line.send(settings((INITIAL_WINDOW, 0)) + head(1, to(STREAM)))
    piece = grpc(wanted(100, bytes(8000)))
    sent = 0
    while sent + len(piece) < streams.STREAM_WINDOW:
        answer = line.send(body(1, piece, 0))
        sent += len(piece)
        assert [got for got in frames(answer) if got[:2] == (8, 1)] == []
    assert [got for got in frames(line.send(widen(1, 1 << 20))) if got[:2] == (8, 1)]


def test_a_message_is_let_go_once_it_is_answered(memory: Memory) -> None:
    line = memory.opened()
    memory.services.busy = True
    line.send(head(1, to(STREAM)) + body(1, grpc(wanted(5)), 0) + body(1, grpc(wanted(5)), 0))
    second = memory.services.calls.pop()
    second.reply(b"the second")
    assert second.raw == b""
    assert len(memory.services.calls) == 1
    memory.services.busy = False
    assert line.send(b"").endswith(b"the second")


def test_a_peer_that_reads_nothing_is_not_read_from_and_is_closed_after_a_while(memory: Memory) -> None:
    line = memory.opened()
    line.send(settings((INITIAL_WINDOW, LARGEST)) + widen(0, LARGEST - 65_535))
    line.wire.dead = True
    line.send(call(1, wanted(2 << 20)))
    assert not line.wire.reads
    memory.wait(19.0)
    assert not line.wire.closed
    memory.wait(2.0)
    assert line.wire.gone
    assert memory.server.notes.counts == {"what was sent is not read": 1}


def test_what_the_transport_holds_for_one_peer_is_bounded(memory: Memory) -> None:
    line = memory.opened()
    line.send(settings((INITIAL_WINDOW, LARGEST)) + widen(0, LARGEST - 65_535))
    memory.services.busy = True
    line.send(b"".join(call(2 * number + 1, wanted(1 << 21)) for number in range(100)))
    line.wire.dead = True
    while memory.services.calls and not line.wire.gone:
        memory.services.calls.popleft().reply(bytes(1 << 21))
        memory.server._work()
    assert line.wire.gone
    assert len(line.wire.sent) <= sender.MOST_UNREAD_BYTES + (1 << 22)
    memory.loop.run()
    assert left_on(line.connection) == {}
    memory.services.calls.clear()


def test_what_is_held_for_all_peers_that_do_not_read_is_bounded(memory: Memory) -> None:
    lines: list[Line] = []
    while sum(line.connection.pending for line in lines) <= UNREAD_OF_ALL:
        lines.append(memory.opened())
        lines[-1].send(settings((INITIAL_WINDOW, 0)))
        for number in range(len(lines) % 4 + 9):
            lines[-1].send(call(2 * number + 1, wanted(1 << 22)))
    assert not memory.server.notes.counts
    memory.wait(1.0)
    assert sum(line.connection.pending for line in lines) <= UNREAD_OF_ALL
    gone = [line for line in lines if line.wire.gone]
    assert memory.server.notes.counts == {"what was sent is not read": len(gone)}
    assert 1 <= len(gone) <= 2


# Slow peers, half-open and idle connections.


@pytest.mark.parametrize("cut", [0, 1, 23, 24, 30])
def test_a_connection_that_begins_too_slowly_is_closed(memory: Memory, cut: int) -> None:
    line = memory.line()
    for byte in (PREFACE + settings())[:cut]:
        line.send(bytes((byte,)))
        memory.wait(10.0 / 31)
    memory.wait(10.1)
    assert line.wire.closed
    assert memory.server.notes.counts == {"no HTTP/2 within the handshake's time": 1}


@pytest.mark.parametrize(
    "slow",
    [
        frame(PING, 0, 0, bytes(8))[:5],
        head(1)[:20],
        body(1, bytes(100))[:50],
        head(1, CALL, 0) + frame(CONTINUATION, 0, 1),
    ],
    ids=["head of a frame", "header block", "DATA", "CONTINUATION"],
)
def test_a_frame_or_a_block_that_does_not_end_ends_the_connection(memory: Memory, slow: bytes) -> None:
    line = memory.opened()
    for byte in slow:
        line.send(bytes((byte,)))
        memory.clock.now += 0.01
    memory.wait(9.0)
    assert not line.wire.closed
    memory.wait(1.1)
    assert last_code(line.wire.take()) == PROTOCOL
    assert memory.server.notes.counts == {"a frame or a header block that does not end": 1}


def test_a_header_block_that_comes_frame_by_frame_has_no_more_time(memory: Memory) -> None:
    line = memory.opened()
    line.send(head(1, CALL, 0))
    for _ in range(4):
        memory.wait(3.0)
        if not line.wire.closed:
            line.send(frame(CONTINUATION, 0, 1, b"\0\x01a\x01b") + b"\0")
            line.send(frame(CONTINUATION, 0, 1, b"\0\x01a\x01b")[1:])
    assert line.wire.closed


def test_a_message_byte_by_byte_costs_a_stream_and_its_bytes_until_its_deadline(memory: Memory) -> None:
    line = memory.opened()
    line.send(head(1, to(UNARY, ("grpc-timeout", "60S"))) + body(1, b"\0" + WORD.pack(1000), 0))
    for _ in range(50):
        memory.wait(1.0)
        line.send(body(1, b"x", 0))
    assert memory.server.parts == 55
    assert not line.wire.closed
    line.send(frame(PING, ACK, 0, b"alive?\0\0"))
    memory.wait(11.0)
    assert status(line.wire.take()) == 4
    assert memory.server.parts == 0


def test_a_peer_that_is_gone_is_found_by_a_ping(memory: Memory) -> None:
    gone, there = memory.opened(), memory.opened()
    memory.wait(61.0)
    assert [(kind, content) for kind, _, content in frames(gone.wire.take())] == [(PING, b"alive?\0\0")]
    there.send(frame(PING, ACK, 0, b"alive?\0\0"))
    memory.wait(21.0)
    assert (gone.wire.gone, there.wire.gone) == (True, False)
    assert memory.server.notes.counts["a peer that answers no ping"] >= 1


def test_an_idle_connection_costs_a_few_kilobytes(memory: Memory) -> None:
    lines = [memory.opened()]
    lines[0].send(call(1, wanted(3)))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    lines += [memory.line() for _ in range(200)]
    for line in lines[1:]:
        line.send(PREFACE + settings())
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 200 < 6000


def test_connections_over_the_limit_are_closed_at_once_and_counted_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(max_connections=20) as running:
        held = [running.peer() for _ in range(20)]
        for one in held:
            one.settle()
        for _ in range(50):
            with running.peer() as more:
                assert more.read() is None
        held[0].send(call(1, wanted(9, b"neighbour")))
        assert held[0].answer(1).body[5:] == b"neighbour"
        assert running.notes == {"too many connections": 50}
        for one in held:
            one.socket.close()
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


# How a connection ends.


def test_a_peer_that_goes_on_sending_after_the_end_is_read_for_a_while_only(memory: Memory) -> None:
    line, silent = memory.opened(), memory.opened()
    line.send(frame(PING, 0, 0, b""))
    silent.send(frame(PING, 0, 0, b""))
    assert (line.wire.closed, line.wire.gone) == (True, False)
    for _ in range(LINGER_BYTES >> 16):
        line.send(bytes(1 << 16))
    assert not line.wire.gone
    line.send(b"x")
    assert line.wire.gone
    memory.wait(LINGER_S + 1.0)
    assert silent.wire.gone
    assert not line.wire.take()


def test_frames_behind_the_one_that_ended_the_connection_are_not_served(memory: Memory) -> None:
    line = memory.opened()
    line.send(frame(GOAWAY, 0, 0, bytes(8)) + call(1, wanted(3)))
    assert line.wire.closed
    assert memory.services.offered == 0
    assert left_on(line.connection) == {}


def test_calls_that_a_draining_connection_does_not_take_cost_no_budget(memory: Memory) -> None:
    line = memory.opened()
    memory.services.busy = True
    line.send(call(1, wanted(3)))
    line.connection.drain(memory.clock.now + 100.0)
    memory.wait(HEARD_S + 0.1)
    line.wire.take()
    assert line.send(b"".join(call(2 * number + 3, wanted(3)) for number in range(500))) == b""
    memory.services.busy = False
    assert status(line.send(b"")) == 0
    assert line.wire.closed
    assert not memory.server.notes.counts


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", greeting.HTTP1_ANSWER),
        (b"POST / HTTP/1.0\r\n", greeting.HTTP1_ANSWER),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
        (b"SSH-2.0-OpenSSH_9.6\r\n", b""),
        (b"INVALID CONNECTION PREFACE\r\n\r\n", b""),
        (b"GET " + b"x" * 9000, b""),
        (b"\0" * 50, b""),
    ],
)
def test_what_is_no_http2_gets_the_answer_that_it_can_read(memory: Memory, said: bytes, answered: bytes) -> None:
    line = memory.line()
    sent = b"".join(line.send(bytes((byte,))) for byte in said[:-1] if not line.wire.closed) + line.send(said[-1:])
    assert sent == answered
    assert line.wire.closed
    assert list(memory.server.notes.counts.values()) == [1]


def test_a_stranger_reads_the_answer_though_it_sent_more_than_was_read() -> None:
    with serving() as running:
        with Peer(running.address, b"POST / HTTP/1.1\r\nContent-Length: 900000\r\n\r\n" + bytes(900_000)) as stranger:
            got = b""
            while chunk := stranger.socket.recv(1 << 16):
                got += chunk
        assert got == greeting.HTTP1_ANSWER
        assert running.notes == {"spoke HTTP/1.1": 1}


def test_a_failure_of_one_connection_ends_no_other(
    memory: Memory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = memory.opened()
    with monkeypatch.context() as broken:
        broken.setattr(Connection, "_settings", None)
        assert last_code(line.send(settings())) == 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_the_bounds_are_as_documented() -> None:
    assert (SLOW_READER_BYTES, SLOWEST_READER_BYTES, sender.MOST_UNREAD_BYTES) == (1 << 24, 1 << 26, 1 << 26)
    assert (server.PARTS_OF_ALL, server.UNREAD_OF_ALL, server.UNPACKED_AT_ONCE) == (1 << 28, 1 << 28, 1 << 26)
    assert (lifetime.WRITE_BUFFER_BYTES, lifetime.LINGER_BYTES) == (1 << 20, 1 << 22)

"""Peers that hold on to what they get: each kind has its bound in bytes, streams or seconds, and the others are served."""

import gzip
import logging
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest

from benchmarks.http2 import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PING,
    PREFACE,
    RST_STREAM,
    WORD,
    frame,
    settings,
)
from sidecar.transport.http2 import greeting, peer, sender, server, streams
from sidecar.transport.http2.connection import SLOW_READER_BYTES, SLOWEST_READER_BYTES, Connection
from sidecar.transport.http2.meanings import MOST_KEPT, MOST_KEPT_BYTES
from sidecar.transport.http2.peer import HEARD_S, LINGER_BYTES, LINGER_S, STARVED_S
from sidecar.transport.http2.rare import MOST_WAITING
from sidecar.transport.http2.server import UNPACKED_AT_ONCE, UNREAD_OF_ALL
from tests.transport.http2.memory import (
    COLD,
    HEALTH_WATCH,
    MOST_MESSAGE,
    REFLECTION,
    STREAM,
    UNARY,
    WATCH,
    Line,
    Memory,
    closed,
    left_on,
    wanted,
)
from tests.transport.http2.peers import CALL, Fields, Peer, body, call, cancel, grpc, head, serving, widen
from tests.transport.http2.test_floods import last_code, opened

PROTOCOL, COMPRESSION, CALM = 1, 9, 11
LARGEST = (1 << 31) - 1


def to(path: str, *extra: tuple[str, str]) -> Fields:
    return (*CALL[:2], (":path", path), *CALL[3:], *extra)


@pytest.fixture
def memory() -> Iterator[Memory]:
    """A transport whose neighbour is served at the end, whatever was done to it."""
    made = Memory()
    neighbour = opened(made)
    yield made
    made.services.busy = False
    if not neighbour.wire.closed:
        neighbour.send(frame(PING, ACK, 0, b"alive?\0\0"))
        assert b"neighbour" in neighbour.send(call(1, wanted(9, b"neighbour")))
    closed(made.server)


def frames(sent: bytes) -> list[tuple[int, int, bytes]]:
    """The frames that were sent, as kind, stream and content."""
    found = []
    at = 0
    while at < len(sent):
        size = int.from_bytes(sent[at : at + 3], "big")
        found.append((sent[at + 3], WORD.unpack(sent[at + 5 : at + 9])[0], sent[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def status(sent: bytes, stream: int = 1) -> int | None:
    """The gRPC status that ended a stream."""
    for kind, number, content in frames(sent):
        if kind == HEADERS and number == stream and b"grpc-status" in content:
            at = content.index(b"grpc-status") + 11
            return int(content[at + 1 : at + 1 + content[at]])
    return None


# Headers.


def test_a_small_block_that_becomes_many_headers_is_refused_and_costs_its_bytes_only(memory: Memory) -> None:
    line = opened(memory)
    line.send(frame(HEADERS, END_HEADERS, 1, b"".join((b"\x40\x01x\x7f\x80\x1e", bytes(3967).replace(b"\0", b"v")))))
    tracemalloc.start()
    sent = line.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\xbe" * 16_000))  # 64 MB, if it were taken
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert status(sent, 3) == 8
    assert most < 1 << 20
    assert status(line.send(call(5, wanted(3))), 5) == 0  # the tables are in step
    assert not memory.server.notes.counts


def test_a_block_that_is_longer_than_any_that_is_taken_ends_the_connection(memory: Memory) -> None:
    line = opened(memory)
    line.send(frame(HEADERS, 0, 1, bytes(16_000)))
    line.send(frame(CONTINUATION, 0, 1, bytes(16_000)) * 2)
    assert not line.wire.closed
    assert last_code(line.send(frame(CONTINUATION, 0, 1, bytes(16_000)))) == CALM
    assert left_on(line.connection) == {}


def test_what_is_kept_of_headers_is_bounded_in_number_and_bytes(memory: Memory) -> None:
    line = opened(memory)
    meanings = line.connection._meanings
    for number in range(1000):
        line.send(
            call(2 * number + 1, wanted(0), to(UNARY, ("x-request", str(number) * (number % 2000)))) + widen(0, 99)
        )
        kept = sum(len(name) + len(value) for key in meanings._entries for name, value in key)
        assert kept + sum(map(len, meanings.blocks)) <= MOST_KEPT_BYTES
        assert len(meanings.blocks) <= MOST_KEPT
        assert len(meanings._entries) <= MOST_KEPT
    assert meanings.blocks
    assert not line.wire.closed


def test_errors_are_kept_without_the_messages_that_caused_them(memory: Memory) -> None:
    line = opened(memory)
    line.send(head(1) + body(1, grpc(bytes(1000))[:-1]))
    assert sender._trailers
    assert [
        error for error in sender._trailers if error.__traceback__ is not None or error.__context__ is not None
    ] == []


# Windows that do not open, and peers that do not read.


def test_a_peer_that_never_opens_its_window_is_closed_after_a_while_and_not_before(memory: Memory) -> None:
    line = opened(memory)
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
    line = opened(memory)
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
    line = opened(memory)
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
    line = opened(memory)
    line.send(settings((INITIAL_WINDOW, 0)) + head(1, to(STREAM)))
    piece = grpc(wanted(100, bytes(8000)))
    sent = 0
    while sent + len(piece) < streams.STREAM_WINDOW:
        answer = line.send(body(1, piece, 0))
        sent += len(piece)
        assert [got for got in frames(answer) if got[:2] == (8, 1)] == []
    assert [got for got in frames(line.send(widen(1, 1 << 20))) if got[:2] == (8, 1)]


def test_a_message_is_let_go_once_it_is_answered(memory: Memory) -> None:
    line = opened(memory)
    memory.services.busy = True
    line.send(head(1, to(STREAM)) + body(1, grpc(wanted(5)), 0) + body(1, grpc(wanted(5)), 0))
    second = memory.services.calls.pop()
    second.reply(b"the second")
    assert second.raw == b""
    assert len(memory.services.calls) == 1
    memory.services.busy = False
    assert line.send(b"").endswith(b"the second")


def test_a_peer_that_reads_nothing_is_not_read_from_and_is_closed_after_a_while(memory: Memory) -> None:
    line = opened(memory)
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
    line = opened(memory)
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
        lines.append(opened(memory))
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
    line = opened(memory)
    for byte in slow:
        line.send(bytes((byte,)))
        memory.clock.now += 0.01
    memory.wait(9.0)
    assert not line.wire.closed
    memory.wait(1.1)
    assert last_code(line.wire.take()) == PROTOCOL
    assert memory.server.notes.counts == {"a frame or a header block that does not end": 1}


def test_a_header_block_that_comes_frame_by_frame_has_no_more_time(memory: Memory) -> None:
    line = opened(memory)
    line.send(head(1, CALL, 0))
    for _ in range(4):
        memory.wait(3.0)
        if not line.wire.closed:
            line.send(frame(CONTINUATION, 0, 1, b"\0\x01a\x01b") + b"\0")
            line.send(frame(CONTINUATION, 0, 1, b"\0\x01a\x01b")[1:])
    assert line.wire.closed


def test_a_message_byte_by_byte_costs_a_stream_and_its_bytes_until_its_deadline(memory: Memory) -> None:
    line = opened(memory)
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
    gone, there = opened(memory), opened(memory)
    memory.wait(61.0)
    assert [(kind, content) for kind, _, content in frames(gone.wire.take())] == [(PING, b"alive?\0\0")]
    there.send(frame(PING, ACK, 0, b"alive?\0\0"))
    memory.wait(21.0)
    assert (gone.wire.gone, there.wire.gone) == (True, False)
    assert memory.server.notes.counts["a peer that answers no ping"] >= 1


def test_an_idle_connection_costs_a_few_kilobytes(memory: Memory) -> None:
    lines = [opened(memory)]
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


# Streams that are opened and not used, and messages that are not finished.


def test_streams_that_are_opened_and_never_used_are_bounded_and_cost_less_than_a_kilobyte_each(memory: Memory) -> None:
    line = opened(memory)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    sent = line.send(b"".join(head(2 * number + 1) for number in range(1030)))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(line.connection.streams) == 1024
    assert [kind for kind, _, _ in frames(sent)] == [RST_STREAM] * 6
    assert (after - before) / 1024 < 1024
    line.lose()
    assert left_on(line.connection) == {}


@pytest.mark.parametrize("path", [UNARY, STREAM, COLD, WATCH, HEALTH_WATCH])
@pytest.mark.parametrize("whole", [False, True], ids=["half a message", "a message without an end"])
def test_unfinished_messages_are_bounded_over_all_streams(memory: Memory, path: str, whole: bool) -> None:  # noqa: FBT001
    if whole and path == STREAM:
        return  # there a message is answered at once
    line = opened(memory)
    raw = grpc(bytes(MOST_MESSAGE - 5))
    raw = raw if whole else raw[:-1]
    refused = 0
    for number in range(20):
        stream = 2 * number + 1
        answer = line.send(head(stream, to(path)))
        for at in range(0, len(raw), 16_384):
            answer += line.send(body(stream, raw[at : at + 16_384], 0))
        refused += status(answer, stream) == 8
        assert memory.server.parts <= memory.server.most_parts
    assert refused >= 17
    assert not line.wire.closed
    for number in range(20):
        line.send(cancel(2 * number + 1))
    assert memory.server.parts == 0


def test_unfinished_messages_are_bounded_over_all_connections_and_the_modest_are_served(memory: Memory) -> None:
    memory.server.most_parts_of_all = 1 << 21
    raw = grpc(bytes(MOST_MESSAGE - 5))[:-1]
    told = []
    for _ in range(10):
        line = opened(memory)
        sent = line.send(head(1))
        for at in range(0, len(raw), 16_384):
            sent += line.send(body(1, raw[at : at + 16_384], 0))
        told.append(status(sent))
    assert told[0] is None
    assert told[-5:] == [8] * 5
    assert memory.server.parts <= 2 * memory.server.most_parts_of_all
    modest = opened(memory)
    large = grpc(wanted(5, bytes(100_000)))
    sent = modest.send(head(1))
    for at in range(0, len(large), 16_384):
        sent += modest.send(body(1, large[at : at + 16_384], 0))
    assert status(sent + modest.send(body(1, b""))) == 0


def test_a_call_that_expires_within_its_message_leaves_nothing(memory: Memory) -> None:
    line = opened(memory)
    for number, path in enumerate((UNARY, STREAM, COLD, WATCH, HEALTH_WATCH)):
        line.send(
            head(2 * number + 1, to(path, ("grpc-timeout", "5S"))) + body(2 * number + 1, grpc(bytes(99))[:-1], 0)
        )
    assert memory.server.parts == 5 * 103
    memory.wait(6.0)
    sent = line.wire.take()
    assert [status(sent, 2 * number + 1) for number in range(5)] == [4] * 5
    assert memory.server.parts == 0
    assert left_on(line.connection) == {}
    memory.wait(1.0)
    assert not line.wire.closed


def test_tiny_messages_of_a_conversation_that_are_not_waited_for_are_bounded(memory: Memory) -> None:
    line = opened(memory)
    line.send(head(1, to(REFLECTION)))
    assert status(line.send(body(1, grpc(b"") * (MOST_WAITING + 2), 0))) == 8
    assert not line.wire.closed


def test_a_watch_whose_reader_hangs_up_while_its_replies_wait_gives_its_place_back(memory: Memory) -> None:
    line = opened(memory)
    line.send(settings((INITIAL_WINDOW, 0)))
    for number in range(20):
        sent = line.send(call(2 * number + 1, wanted(100), to(WATCH)))
        assert status(sent, 2 * number + 1) is None
        line.send(cancel(2 * number + 1))
    line.send(call(99, wanted(100), to(WATCH, ("grpc-timeout", "5S"))) + call(101, wanted(100), to(WATCH)))
    assert status(line.send(call(103, wanted(100), to(WATCH))), 103) == 8  # two are open
    memory.wait(6.0)
    assert status(line.send(call(105, wanted(100), to(WATCH))), 105) is None


def test_a_watch_of_health_that_is_malformed_ends_alone(memory: Memory) -> None:
    line = opened(memory)
    assert status(line.send(head(1, to(HEALTH_WATCH)) + body(1, grpc(b"\xff\xff")))) == 3
    assert status(line.send(head(3, to(HEALTH_WATCH)) + body(3, b""))) in (None, 12)
    assert not line.wire.closed
    assert not memory.server._watchers._calls


# Compressed messages.


def packed(raw: bytes, encoding: str) -> bytes:
    content = gzip.compress(raw) if encoding == "gzip" else zlib.compress(raw)
    return b"\1" + WORD.pack(len(content)) + content


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_message_that_is_too_large_once_unpacked_is_not_unpacked(memory: Memory, encoding: str) -> None:
    bomb = packed(bytes(64 * MOST_MESSAGE), encoding)
    line = opened(memory)
    line.send(head(1, to(UNARY, ("grpc-encoding", encoding))))
    tracemalloc.start()
    for at in range(0, len(bomb), 16_000):
        sent = line.send(body(1, bomb[at : at + 16_000], END_STREAM if at + 16_000 >= len(bomb) else 0))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert status(sent) == 8
    assert most < 4 * MOST_MESSAGE


def test_what_is_unpacked_before_a_batch_is_bounded(memory: Memory) -> None:
    bomb = packed(bytes(MOST_MESSAGE), "gzip")
    line = opened(memory)
    amount = 2 * UNPACKED_AT_ONCE // MOST_MESSAGE
    calls = [head(2 * at + 1, to(UNARY, ("grpc-encoding", "gzip"))) + body(2 * at + 1, bomb) for at in range(amount)]
    sent = line.send(b"".join(calls))
    told = [status(sent, 2 * at + 1) for at in range(amount)]
    assert told.count(8) == amount - UNPACKED_AT_ONCE // MOST_MESSAGE - 1
    assert told.count(0) == amount - told.count(8)
    assert memory.server.unpacked == 0


# How a connection ends.


def test_a_peer_that_goes_on_sending_after_the_end_is_read_for_a_while_only(memory: Memory) -> None:
    line, silent = opened(memory), opened(memory)
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
    line = opened(memory)
    line.send(frame(GOAWAY, 0, 0, bytes(8)) + call(1, wanted(3)))
    assert line.wire.closed
    assert memory.services.offered == 0
    assert left_on(line.connection) == {}


def test_calls_that_a_draining_connection_does_not_take_cost_no_budget(memory: Memory) -> None:
    line = opened(memory)
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
    line = opened(memory)
    with monkeypatch.context() as broken:
        broken.setattr(Connection, "_settings", None)
        assert last_code(line.send(settings())) == 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_the_bounds_are_as_documented() -> None:
    assert (SLOW_READER_BYTES, SLOWEST_READER_BYTES, sender.MOST_UNREAD_BYTES) == (1 << 24, 1 << 26, 1 << 26)
    assert (server.PARTS_OF_ALL, server.UNREAD_OF_ALL, server.UNPACKED_AT_ONCE) == (1 << 28, 1 << 28, 1 << 26)
    assert (peer.WRITE_BUFFER_BYTES, peer.LINGER_BYTES) == (1 << 20, 1 << 22)

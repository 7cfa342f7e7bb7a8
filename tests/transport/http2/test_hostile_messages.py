"""Headers and messages that are meant to cost much: each kind has its bound, and the others are served."""

import tracemalloc

import pytest

from benchmarks.http2 import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW,
    RST_STREAM,
    frame,
    settings,
)
from sidecar.transport.http2 import sender
from sidecar.transport.http2.calls import ONE_MESSAGE
from sidecar.transport.http2.meanings import MOST_KEPT, MOST_KEPT_BYTES
from sidecar.transport.http2.rare import MOST_WAITING
from sidecar.transport.http2.server import UNPACKED_AT_ONCE
from tests.transport.http2.memory import (
    COLD,
    HEALTH_WATCH,
    MOST_MESSAGE,
    REFLECTION,
    STREAM,
    UNARY,
    WATCH,
    Memory,
    left_on,
    wanted,
)
from tests.transport.http2.peers import body, call, cancel, grpc, head, packed, to, widen
from tests.transport.http2.reading import frames, last_code, status

PROTOCOL, COMPRESSION, CALM = 1, 9, 11
LARGEST = (1 << 31) - 1


# Headers.


def test_a_small_block_that_becomes_many_headers_is_refused_and_costs_its_bytes_only(memory: Memory) -> None:
    line = memory.opened()
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
    line = memory.opened()
    line.send(frame(HEADERS, 0, 1, bytes(16_000)))
    line.send(frame(CONTINUATION, 0, 1, bytes(16_000)) * 2)
    assert not line.wire.closed
    assert last_code(line.send(frame(CONTINUATION, 0, 1, bytes(16_000)))) == CALM
    assert left_on(line.connection) == {}


def test_what_is_kept_of_headers_is_bounded_in_number_and_bytes(memory: Memory) -> None:
    line = memory.opened()
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
    line = memory.opened()
    for number in range(10):
        line.send(head(4 * number + 1) + body(4 * number + 1, grpc(bytes(1000))[:-1]))
        line.send(head(4 * number + 3) + body(4 * number + 3, grpc(b"two") * 2))  # the same error each time
    assert sender._trailers
    assert ONE_MESSAGE in sender._trailers
    assert [
        error for error in sender._trailers if error.__traceback__ is not None or error.__context__ is not None
    ] == []


# Streams that are opened and not used, and messages that are not finished.


def test_streams_that_are_opened_and_never_used_are_bounded_and_cost_less_than_a_kilobyte_each(memory: Memory) -> None:
    line = memory.opened()
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
    line = memory.opened()
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
        line = memory.opened()
        sent = line.send(head(1))
        for at in range(0, len(raw), 16_384):
            sent += line.send(body(1, raw[at : at + 16_384], 0))
        told.append(status(sent))
    assert told[0] is None
    assert told[-5:] == [8] * 5
    assert memory.server.parts <= 2 * memory.server.most_parts_of_all
    modest = memory.opened()
    large = grpc(wanted(5, bytes(100_000)))
    sent = modest.send(head(1))
    for at in range(0, len(large), 16_384):
        sent += modest.send(body(1, large[at : at + 16_384], 0))
    assert status(sent + modest.send(body(1, b""))) == 0


def test_a_call_that_expires_within_its_message_leaves_nothing(memory: Memory) -> None:
    line = memory.opened()
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


@pytest.mark.parametrize("path", [COLD, WATCH, REFLECTION])
def test_messages_that_wait_for_a_thread_are_bounded(memory: Memory, path: str) -> None:
    memory.loop.threads = False
    line = memory.opened()
    raw = grpc(bytes(MOST_MESSAGE - 5))
    refused = 0
    for number in range(8):
        stream = 2 * number + 1
        answer = line.send(head(stream, to(path)))
        for at in range(0, len(raw), 16_384):
            answer += line.send(body(stream, raw[at : at + 16_384], END_STREAM if at + 16_384 >= len(raw) else 0))
        refused += status(answer, stream) == 8
        assert memory.server.parts <= memory.server.most_parts
    assert refused >= 6
    memory.loop.threads = True
    assert line.send(widen(0, 1 << 20))
    for number in range(8):
        line.send(cancel(2 * number + 1))
    assert memory.server.parts == 0


def test_a_conversation_is_not_told_to_send_on_while_much_of_it_waits(memory: Memory) -> None:
    memory.loop.threads = False
    line = memory.opened()
    line.send(head(1, to(REFLECTION)))
    sent = 0
    while status(answer := line.send(body(1, grpc(bytes(16_000)), 0))) is None:
        sent += 16_005
        assert sent <= memory.server.most_parts + 16_005
    assert status(answer) == 8
    assert memory.server.parts == 0
    memory.loop.threads = True
    line.send(b"")
    assert memory.server.parts == 0


def test_tiny_messages_of_a_conversation_that_are_not_waited_for_are_bounded(memory: Memory) -> None:
    line = memory.opened()
    line.send(head(1, to(REFLECTION)))
    assert status(line.send(body(1, grpc(b"") * (MOST_WAITING + 2), 0))) == 8
    assert not line.wire.closed


def test_a_watch_whose_reader_hangs_up_while_its_replies_wait_gives_its_place_back(memory: Memory) -> None:
    line = memory.opened()
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
    line = memory.opened()
    assert status(line.send(head(1, to(HEALTH_WATCH)) + body(1, grpc(b"\xff\xff")))) == 3
    assert status(line.send(head(3, to(HEALTH_WATCH)) + body(3, b""))) in (None, 12)
    assert not line.wire.closed
    assert not memory.server._watchers._calls


@pytest.mark.parametrize("waits", [True, False], ids=["for a batch", "for a window"])
def test_a_call_that_has_ended_takes_no_second_message(memory: Memory, waits: bool) -> None:  # noqa: FBT001
    line = memory.opened()
    memory.services.busy = waits
    line.send(settings((INITIAL_WINDOW, 3)) + call(1, wanted(50)))
    answer = line.send(body(1, grpc(wanted(50))) * 3)
    assert [(kind, number) for kind, number, _ in frames(answer)] == [(RST_STREAM, 1)]
    memory.services.busy = False
    assert line.send(widen(1, 1000)) == b""
    assert memory.services.offered == 1


# Compressed messages.


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_message_that_is_too_large_once_unpacked_is_not_unpacked(memory: Memory, encoding: str) -> None:
    bomb = packed(bytes(64 * MOST_MESSAGE), encoding)
    line = memory.opened()
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
    line = memory.opened()
    amount = 2 * UNPACKED_AT_ONCE // MOST_MESSAGE
    calls = [head(2 * at + 1, to(UNARY, ("grpc-encoding", "gzip"))) + body(2 * at + 1, bomb) for at in range(amount)]
    sent = line.send(b"".join(calls))
    told = [status(sent, 2 * at + 1) for at in range(amount)]
    assert told.count(8) == amount - UNPACKED_AT_ONCE // MOST_MESSAGE - 1
    assert told.count(0) == amount - told.count(8)
    assert memory.server.unpacked == 0

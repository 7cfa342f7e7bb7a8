"""Floods of frames that cost a peer little: each ends its connection after a bounded number, with one line in the log."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import pytest

from benchmarks.http2 import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PING,
    SETTINGS,
    WORD,
    frame,
    settings,
)
from sidecar.transport.http2.budget import BURST, FAULT_FRAMES, PER_SECOND
from sidecar.transport.http2.opening import MOST_CONTINUATIONS
from sidecar.transport.http2.peer import PING_STRIKES
from tests.transport.http2.memory import STREAM, Memory, closed, wanted
from tests.transport.http2.peers import CALL, POST, Serving, asked, body, call, cancel, grpc, head, to, widen
from tests.transport.http2.reading import last_code

CALM = 11
PRIORITY_FRAME = 2
BUDGET, FAULTS = int(BURST), int(BURST) // FAULT_FRAMES
CONVERSATION = to(STREAM)
UNKNOWN = to("/test.Test/None")


def own(number: int) -> int:
    """The stream of a piece."""
    return 2 * number + 3


def self_dependent(stream: int) -> bytes:
    return frame(PRIORITY_FRAME, 0, stream, WORD.pack(stream) + b"\0")


class Flood(NamedTuple):
    """One kind.

    Attributes:
        piece: what is sent again and again, by number.
        most: pieces that are taken, at most.
        reason: that is noted.
        first: sent before them.
    """

    piece: Callable[[int], bytes]
    most: int
    reason: str
    first: bytes = head(1, CONVERSATION)


FLOODS = {
    "streams that are reset at once (CVE-2023-44487)": Flood(
        lambda at: head(own(at)) + cancel(own(at)), BUDGET, "flood: rapid reset"
    ),
    "whole calls that are reset at once": Flood(
        lambda at: call(own(at), wanted(0)) + cancel(own(at)), BUDGET, "flood: rapid reset"
    ),
    "CONTINUATION (CVE-2024-27316)": Flood(
        lambda _: frame(CONTINUATION, 0, 1, b"\0\x01a\x01b"), MOST_CONTINUATIONS, "flood: CONTINUATION", frame(HEADERS, 0, 1)
    ),
    "empty CONTINUATION": Flood(
        lambda _: frame(CONTINUATION, 0, 1), MOST_CONTINUATIONS, "flood: CONTINUATION", frame(HEADERS, 0, 1)
    ),
    "large CONTINUATION": Flood(
        lambda _: frame(CONTINUATION, 0, 1, bytes(1 << 14)), 3, "flood: CONTINUATION", frame(HEADERS, 0, 1)
    ),
    "windows that are widened by nothing (CVE-2025-8671)": Flood(
        lambda at: head(own(at)) + widen(own(at), 0), FAULTS, "flood: faults"
    ),
    "windows that overflow": Flood(
        lambda at: head(own(at)) + widen(own(at), (1 << 31) - 1), FAULTS, "flood: faults"
    ),
    "DATA after the end": Flood(lambda at: call(own(at), wanted(0)) + body(own(at), b"x"), FAULTS, "flood: faults"),
    "whole messages after the end": Flood(
        lambda at: call(own(at), wanted(0)) + body(own(at), grpc(wanted(0))), FAULTS, "flood: faults"
    ),
    "streams that depend on themselves": Flood(
        lambda at: head(own(at)) + self_dependent(own(at)), FAULTS, "flood: faults"
    ),
    "headers before the end": Flood(lambda at: head(own(at)) * 2, FAULTS, "flood: faults"),
    "lengths that are broken": Flood(
        lambda at: head(own(at), (*CALL, ("content-length", "1"))) + body(own(at), b"xx"), FAULTS, "flood: faults"
    ),
    "malformed headers": Flood(lambda at: head(own(at), (*CALL, ("X", "y"))), FAULTS, "flood: faults"),
    "DATA on a closed stream": Flood(
        lambda _: body(1, b"x"), BUDGET, "flood: late DATA", head(1, CONVERSATION) + cancel(1)
    ),
    "streams beyond the limit": Flood(
        lambda at: head(own(2000 + at)), BUDGET, "flood: faults", b"".join(head(own(at)) for at in range(1024))
    ),
    "SETTINGS": Flood(lambda _: settings((INITIAL_WINDOW, 65_535)), BUDGET, "flood: SETTINGS"),
    "empty SETTINGS": Flood(lambda _: settings(), BUDGET, "flood: SETTINGS"),
    "SETTINGS of many values": Flood(lambda _: settings(*[(INITIAL_WINDOW, 65_535)] * 2700), 1, "flood: SETTINGS"),
    "acknowledgements": Flood(lambda _: frame(SETTINGS, ACK, 0), BUDGET, "flood: SETTINGS"),
    "PING": Flood(lambda _: frame(PING, 0, 0, bytes(8)), BUDGET, "flood: PING"),
    "answers to pings that were not sent": Flood(lambda _: frame(PING, ACK, 0, bytes(8)), BUDGET, "flood: PING"),
    "PING while nothing is open": Flood(
        lambda _: frame(PING, 0, 0, bytes(8)), PING_STRIKES + 1, "too_many_pings", b""
    ),
    "empty DATA": Flood(lambda _: body(1, b"", 0), BUDGET, "flood: empty DATA"),
    "padding without DATA": Flood(lambda _: frame(0, 8, 1, b"\xff" + bytes(255)), BUDGET, "flood: empty DATA"),
    "GOAWAY": Flood(lambda _: frame(GOAWAY, 0, 0, bytes(8)), BUDGET, "flood: GOAWAY"),
    "PRIORITY": Flood(lambda at: frame(PRIORITY_FRAME, 0, own(at), bytes(5)), BUDGET, "flood: PRIORITY"),
    "unknown frames": Flood(lambda _: frame(0xEE, 0, 0, b"x"), BUDGET, "flood: unknown frames"),
    "windows of the connection": Flood(lambda _: widen(0, 1), BUDGET, "flood: WINDOW_UPDATE"),
    "windows of a stream": Flood(lambda _: widen(1, 1), BUDGET, "flood: WINDOW_UPDATE"),
    "windows of closed streams": Flood(
        lambda _: widen(1, 1), BUDGET, "flood: WINDOW_UPDATE", head(1, CONVERSATION) + cancel(1)
    ),
    "resets of a closed stream": Flood(lambda _: cancel(1), BUDGET, "flood: RST_STREAM", head(1, CONVERSATION) + cancel(1)),
    "DATA on a stream that was refused": Flood(lambda _: body(1, b"x", 0), BUDGET + 4, "flood: late DATA", head(1, UNKNOWN)),
    "HEADERS on a stream that was refused": Flood(
        lambda _: asked(1, (("a", "b"),)), BUDGET + 4, "flood: late HEADERS", head(1, UNKNOWN)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_ended_after_a_bounded_number_and_a_neighbour_is_served(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    flood = FLOODS[name]
    memory = Memory()
    neighbour, line = memory.opened(), memory.opened()
    memory.services.busy = True  # nothing is answered meanwhile, so that no reply pays for a frame
    line.send(flood.first)
    number = 0
    while not line.wire.closed:
        sent = line.send(flood.piece(number))
        number += 1
        assert number <= flood.most + 1, memory.server.notes.counts
    assert number > flood.most * 0.9 - 1, "ended long before the bound"
    assert last_code(sent) == CALM
    assert memory.server.notes.counts == {flood.reason: 1}
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"a connection was closed: {flood.reason}"
    ]
    assert not line.connection.streams
    memory.services.busy = False
    assert b"neighbour" in neighbour.send(call(1, wanted(9, b"neighbour")))
    closed(memory.server)


@pytest.mark.parametrize("name", FLOODS)
def test_the_peer_of_a_flood_is_told_why_though_it_goes_on_sending(shared: Serving, name: str) -> None:
    flood = FLOODS[name]
    before = shared.notes.get(flood.reason, 0)
    with shared.peer() as peer, shared.peer() as neighbour:
        # On a real connection time passes and replies come, both of which pay for frames.
        amount = (flood.most + 10) * 2
        peer.send(flood.first, b"".join(flood.piece(number) for number in range(amount)))
        neighbour.send(call(1, wanted(9, b"neighbour")))
        assert neighbour.answer(1).body[5:] == b"neighbour"
        if flood.reason in ("flood: rapid reset", "flood: faults") and flood.first == FLOODS["PING"].first:
            # Some of the streams were answered before they could be reset.
            for more in range(20):
                start = amount * (more + 1)
                peer.send(b"".join(flood.piece(start + number) for number in range(amount)))
        assert peer.ending() == CALM
    assert shared.notes[flood.reason] == before + 1


def test_frames_at_the_pace_that_is_allowed_are_no_flood() -> None:
    memory = Memory()
    line = memory.opened()
    line.send(head(1, CONVERSATION))
    for _ in range(20):
        memory.clock.now += 1.0
        line.send(frame(PING, 0, 0, bytes(8)) * int(PER_SECOND))
    assert not line.wire.closed
    closed(memory.server)


def test_a_ping_and_two_windows_after_each_reply_are_no_flood() -> None:
    """Go's client measures the network with a ping after each reply, and C core's widens both windows."""
    memory = Memory()
    line = memory.opened()
    for number in range(3 * BUDGET):
        line.send(
            call(2 * number + 1, wanted(3)) + widen(0, 8) + widen(2 * number + 1, 8) + frame(PING, 0, 0, bytes(8))
        )
    assert not line.wire.closed
    assert not memory.server.notes.counts
    closed(memory.server)


def test_a_ping_after_each_message_of_a_stream_is_no_flood() -> None:
    memory = Memory()
    line = memory.opened()
    line.send(head(1, CONVERSATION) + settings((INITIAL_WINDOW, 1 << 30)))
    for _ in range(3 * BUDGET):
        line.send(body(1, grpc(wanted(3)), 0) + frame(PING, 0, 0, bytes(8)) + widen(0, 8))
    assert not line.wire.closed
    closed(memory.server)


def test_the_log_gets_a_line_at_a_time_though_many_connections_flood(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    for _ in range(50):
        memory.opened().send(frame(PING, 0, 0, bytes(8)) * 10)
    assert memory.server.notes.counts == {"too_many_pings": 50}
    assert len(caplog.records) == 1
    memory.clock.now += 31.0
    memory.opened().send(b"\xff\xff\xff" + bytes(6))
    memory.opened().send(b"\xff\xff\xfe" + bytes(6))  # a reason holds nothing that a peer chose
    assert memory.server.notes.counts == {"too_many_pings": 50, "a frame that is too large": 2}
    memory.opened().send(frame(PING, 0, 0, bytes(8)) * 10)
    assert caplog.records[-1].message == "a connection was closed: too_many_pings (50 since the line before)"
    closed(memory.server)


def test_the_budget_is_one_for_all_kinds_of_frames() -> None:
    memory = Memory()
    line = memory.opened()
    line.send(head(1, CONVERSATION))
    mixed = frame(0xEE, 0, 0) + settings() + body(1, b"", 0) + frame(PRIORITY_FRAME, 0, 7, bytes(5)) + widen(0, 1)
    sent = 0
    while not line.wire.closed:
        line.send(mixed)
        sent += 5
    assert sent <= BUDGET + 5
    closed(memory.server)


def test_posts_to_nowhere_are_answered_and_cost_no_budget() -> None:
    memory = Memory()
    line = memory.opened()
    for number in range(3 * BUDGET):
        assert line.send(head(2 * number + 1, POST, END_HEADERS) + body(2 * number + 1, b"x") + widen(0, 300))
    assert not line.wire.closed
    closed(memory.server)

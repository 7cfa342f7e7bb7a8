"""RFC 9113, sections 3.4 to 6.10, frame by frame, in the manner of h2spec: what is sent, and what it must lead to."""

import pytest

from benchmarks.http2 import (
    ACK,
    CONTINUATION,
    DATA,
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
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WORD,
    frame,
    settings,
)
from tests.transport.http2.memory import wanted
from tests.transport.http2.peers import (
    GET,
    POST,
    Check,
    Serving,
    answers,
    asked,
    block,
    body,
    call,
    cancel,
    ends,
    head,
    lives,
    resets,
    widen,
)

PRIORITY_FRAME, PUSH_PROMISE = 2, 5
ENABLE_PUSH, UNKNOWN_SETTING = 2, 0xFF
NO_ERROR, PROTOCOL, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, COMPRESSION, CALM = 0, 1, 3, 5, 6, 9, 11
LARGEST, HALF = (1 << 31) - 1, 1 << 14
OPEN = END_HEADERS
WHOLE = END_HEADERS | END_STREAM
BLOCK = block(GET)
MANY = block((*GET, *((f"x-filler-{number}", "v" * 100) for number in range(5))))


def priority(stream: int, depends_on: int, weight: int = 15) -> bytes:
    return frame(PRIORITY_FRAME, 0, stream, WORD.pack(depends_on) + bytes((weight,)))


CASES: dict[str, tuple[bytes, Check]] = {
    # 4.1 Frame format
    "4.1 a frame of unknown type is ignored": (frame(22, 0, 0, b"unknown"), lives),
    "4.1 undefined flags are ignored": (frame(HEADERS, WHOLE | 0x52, 1, BLOCK), answers()),
    "4.1 the reserved bit is ignored": (frame(HEADERS, WHOLE, 1 | 1 << 31, BLOCK), answers()),
    "4.1 a PING with undefined flags is answered": (frame(PING, 0x16, 0, bytes(8)), lives),
    # 4.2 Frame size
    "4.2 DATA of 2^14 bytes is taken": (head(1, POST) + body(1, bytes(HALF)), answers()),
    "4.2 DATA beyond the largest frame": (head(1, POST) + body(1, bytes(HALF + 1)), ends(FRAME_SIZE)),
    "4.2 HEADERS beyond the largest frame": (frame(HEADERS, WHOLE, 1, bytes(HALF + 1)), ends(FRAME_SIZE)),
    # 4.3 Header compression
    "4.3 a block that is no HPACK": (frame(HEADERS, WHOLE, 1, b"\x00\x05abc"), ends(COMPRESSION)),
    "4.3 PRIORITY within a block": (
        frame(HEADERS, END_STREAM, 1, BLOCK) + priority(1, 0) + frame(CONTINUATION, END_HEADERS, 1),
        ends(PROTOCOL),
    ),
    "4.3 HEADERS of another stream within a block": (frame(HEADERS, END_STREAM, 1, BLOCK) + asked(3), ends(PROTOCOL)),
    # 5.5 Extensions
    "5.5 an unknown frame on a stream is ignored": (
        head(1, POST) + frame(0x99, 0xFF, 1, b"x" * 8) + body(1, b"x"),
        answers(),
    ),
    "5.5 an unknown frame within a block": (
        frame(HEADERS, END_STREAM, 1, BLOCK) + frame(0x99, 0, 1) + frame(CONTINUATION, END_HEADERS, 1),
        ends(PROTOCOL),
    ),
    # 6.1 DATA
    "6.1 DATA on stream 0": (body(0, b"test"), ends(PROTOCOL)),
    "6.1 DATA on a stream that has ended": (asked(1) + body(1, b"test"), resets(1, STREAM_CLOSED)),
    "6.1 padding longer than its frame": (
        head(1, POST) + frame(DATA, PADDED | END_STREAM, 1, b"\x06test"),
        ends(PROTOCOL),
    ),
    "6.1 padding as long as its frame": (
        head(1, POST) + frame(DATA, PADDED | END_STREAM, 1, b"\x05test" + b"\0"),
        answers(),
    ),
    "6.1 padded DATA without the length": (head(1, POST) + frame(DATA, PADDED, 1), ends(PROTOCOL)),
    "6.1 padded DATA": (head(1, POST) + frame(DATA, PADDED | END_STREAM, 1, b"\x03test\0\0\0"), answers()),
    # 6.2 HEADERS
    "6.2 HEADERS on stream 0": (asked(0), ends(PROTOCOL)),
    "6.2 padding longer than the block": (
        frame(HEADERS, WHOLE | PADDED, 1, bytes((len(BLOCK) + 1,)) + BLOCK),
        ends(PROTOCOL),
    ),
    "6.2 HEADERS padded": (frame(HEADERS, WHOLE | PADDED, 1, b"\x02" + BLOCK + bytes(2)), answers()),
    "6.2 HEADERS with a priority": (frame(HEADERS, WHOLE | PRIORITY, 1, bytes(4) + b"\x0f" + BLOCK), answers()),
    "6.2 HEADERS padded, with a priority": (
        frame(HEADERS, WHOLE | PADDED | PRIORITY, 1, b"\x02" + bytes(4) + b"\x0f" + BLOCK + bytes(2)),
        answers(),
    ),
    "6.2 HEADERS without the priority that they announce": (
        frame(HEADERS, WHOLE | PRIORITY, 1, bytes(3)),
        ends(FRAME_SIZE),
    ),
    # 6.3 PRIORITY
    "6.3 PRIORITY on stream 0": (priority(0, 1), ends(PROTOCOL)),
    "6.3 PRIORITY of a wrong length": (
        head(1, POST) + frame(PRIORITY_FRAME, 0, 1, WORD.pack(0)),
        resets(1, FRAME_SIZE),
    ),
    "6.3 PRIORITY of a wrong length on an idle stream": (frame(PRIORITY_FRAME, 0, 1, WORD.pack(0)), ends(FRAME_SIZE)),
    # 6.4 RST_STREAM
    "6.4 RST_STREAM on stream 0": (cancel(0), ends(PROTOCOL)),
    "6.4 RST_STREAM on an idle stream": (cancel(1), ends(PROTOCOL)),
    "6.4 RST_STREAM of a wrong length": (head(1, POST) + frame(RST_STREAM, 0, 1, bytes(3)), ends(FRAME_SIZE)),
    "6.4 RST_STREAM on an open stream": (head(1, POST) + cancel(1), lives),
    # 6.5 SETTINGS
    "6.5 an acknowledgement with content": (frame(SETTINGS, ACK, 0, b"\0"), ends(FRAME_SIZE)),
    "6.5 SETTINGS on a stream": (frame(SETTINGS, 0, 1, bytes(6)), ends(PROTOCOL)),
    "6.5 SETTINGS of a wrong length": (frame(SETTINGS, 0, 0, bytes(3)), ends(FRAME_SIZE)),
    "6.5.2 ENABLE_PUSH 2": (settings((ENABLE_PUSH, 2)), ends(PROTOCOL)),
    "6.5.2 ENABLE_PUSH 1": (settings((ENABLE_PUSH, 1)), lives),
    "6.5.2 a window beyond the largest": (settings((INITIAL_WINDOW, 1 << 31)), ends(FLOW_CONTROL)),
    "6.5.2 frames below the smallest": (settings((MAX_FRAME, HALF - 1)), ends(PROTOCOL)),
    "6.5.2 frames beyond the largest": (settings((MAX_FRAME, 1 << 24)), ends(PROTOCOL)),
    "6.5.2 an unknown setting is ignored": (settings((UNKNOWN_SETTING, 1)), lives),
    # 6.6 PUSH_PROMISE
    "6.6 PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 1, WORD.pack(2) + BLOCK), ends(PROTOCOL)),
    "8.2 PUSH_PROMISE on an open stream": (
        head(1, POST) + frame(PUSH_PROMISE, END_HEADERS, 1, WORD.pack(2) + BLOCK),
        ends(PROTOCOL),
    ),
    # 6.7 PING
    "6.7 an acknowledgement that nothing asked for is ignored": (frame(PING, ACK, 0, b"invalid!"), lives),
    "6.7 PING on a stream": (frame(PING, 0, 1, bytes(8)), ends(PROTOCOL)),
    "6.7 PING of a wrong length": (frame(PING, 0, 0, bytes(6)), ends(FRAME_SIZE)),
    # 6.8 GOAWAY
    "6.8 GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), ends(PROTOCOL)),
    "6.8 GOAWAY of a wrong length": (frame(GOAWAY, 0, 0, bytes(7)), ends(FRAME_SIZE)),
    "6.8 GOAWAY with nothing open ends the connection": (frame(GOAWAY, 0, 0, bytes(8)), ends(None)),
    "7 an unknown code in GOAWAY is like any other": (
        frame(GOAWAY, 0, 0, bytes(4) + WORD.pack(0xFF)),
        ends(None),
    ),
    "7 an unknown code in RST_STREAM is like any other": (head(1, POST) + cancel(1, 0xFF), lives),
    # 6.9 WINDOW_UPDATE
    "6.9 WINDOW_UPDATE by 0": (widen(0, 0), ends(PROTOCOL)),
    "6.9 WINDOW_UPDATE by 0 on a stream": (head(1, POST) + widen(1, 0), resets(1, PROTOCOL)),
    "6.9 WINDOW_UPDATE of a wrong length": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), ends(FRAME_SIZE)),
    "6.9.1 the connection's window overflows": (widen(0, LARGEST) * 2, ends(FLOW_CONTROL)),
    "6.9.1 a stream's window overflows": (head(1, POST) + widen(1, LARGEST) * 2, resets(1, FLOW_CONTROL)),
    "6.9.1 the reserved bit of the increment is ignored": (
        head(1, POST) + widen(1, 1 << 31 | 1) + body(1, b"x"),
        answers(),
    ),
    "6.9.2 SETTINGS overflow a stream's window": (
        head(1, POST) + widen(1, LARGEST - 65_535) + settings((INITIAL_WINDOW, 65_536)),
        ends(FLOW_CONTROL),
    ),
    # 6.10 CONTINUATION
    "6.10 several CONTINUATION frames": (
        frame(HEADERS, END_STREAM, 1, MANY[:40])
        + frame(CONTINUATION, 0, 1, MANY[40:200])
        + frame(CONTINUATION, END_HEADERS, 1, MANY[200:]),
        answers(),
    ),
    "6.10 CONTINUATION interrupted by DATA": (
        frame(HEADERS, 0, 1, BLOCK) + body(1, b"test") + frame(CONTINUATION, END_HEADERS, 1),
        ends(PROTOCOL),
    ),
    "6.10 CONTINUATION on stream 0": (
        frame(HEADERS, END_STREAM, 1, BLOCK) + frame(CONTINUATION, END_HEADERS, 0),
        ends(PROTOCOL),
    ),
    "6.10 CONTINUATION of another stream": (
        frame(HEADERS, END_STREAM, 1, BLOCK) + frame(CONTINUATION, END_HEADERS, 3),
        ends(PROTOCOL),
    ),
    "6.10 CONTINUATION after whole HEADERS": (head(1, POST) + frame(CONTINUATION, END_HEADERS, 1), ends(PROTOCOL)),
    "6.10 CONTINUATION after the last one": (
        frame(HEADERS, 0, 1, BLOCK)
        + frame(CONTINUATION, END_HEADERS, 1)
        + frame(CONTINUATION, END_HEADERS, 1, block((("x-a", "b"),))),
        ends(PROTOCOL),
    ),
    "6.10 CONTINUATION after DATA": (
        head(1, POST) + body(1, b"test", 0) + frame(CONTINUATION, END_HEADERS, 1),
        ends(PROTOCOL),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_frame_leads_to_what_the_standard_says(shared: Serving, name: str) -> None:
    sent, check = CASES[name]
    with shared.peer() as peer:
        peer.settle()
        peer.send(sent)
        check(peer)


@pytest.mark.parametrize(
    ("opening", "check"),
    [
        (b"INVALID CONNECTION PREFACE\r\n\r\n", ends(None)),
        (PREFACE + frame(PING, 0, 0, bytes(8)), ends(PROTOCOL)),
        (PREFACE + frame(SETTINGS, ACK, 0), ends(PROTOCOL)),
        (PREFACE + frame(SETTINGS, 0, 1), ends(PROTOCOL)),
        (PREFACE + b"\xff\xff\xff" + frame(SETTINGS, 0, 0)[3:], ends(PROTOCOL)),
        (PREFACE + settings() + asked(1), answers()),
        (PREFACE + settings((MAX_FRAME, 1 << 20), (INITIAL_WINDOW, 1 << 20)) + asked(1), answers()),
    ],
    ids=["other words", "no settings", "an acknowledgement", "settings of a stream", "too long", "at once", "large frames"],
)  # fmt: skip
def test_a_connection_begins_with_the_preface_and_settings(shared: Serving, opening: bytes, check: Check) -> None:
    with shared.peer(opening) as peer:
        check(peer)


@pytest.mark.parametrize("cut", [1, 3, 10, 23, 24, 30])
def test_the_preface_may_come_in_pieces(shared: Serving, cut: int) -> None:
    whole = PREFACE + settings()
    with shared.peer(whole[:cut]) as peer:
        peer.send(whole[cut:] + asked(1))
        answers()(peer)


def test_a_wrong_frame_ends_the_connection_with_the_last_stream_that_was_served(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(asked(1), head(7, POST), frame(PING, 0, 0, bytes(6)))
        assert peer.ending() == FRAME_SIZE
        assert WORD.unpack(peer.seen[-1].payload[:4]) == (7,)


def test_settings_are_acknowledged_and_begin_the_answer(shared: Serving) -> None:
    with shared.peer() as peer:
        first, second, third = peer.read(), peer.read(), peer.read()
        assert first is not None
        assert (first.kind, first.flags) == (SETTINGS, 0)
        assert second is not None
        assert (second.kind, second.stream) == (WINDOW_UPDATE, 0)
        assert third is not None
        assert (third.kind, third.flags, third.payload) == (SETTINGS, ACK, b"")


def test_a_ping_comes_back_with_its_content(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(frame(PING, 0, 0, b"12345678"))
        assert peer.until(PING)[1:] == (ACK, 0, b"12345678")


def test_the_last_of_several_values_in_one_frame_holds(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(settings((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)), asked(1))
        assert len(peer.until(DATA, 1).payload) == 1


def test_a_window_of_one_lets_one_byte_out(shared: Serving) -> None:
    with shared.peer(PREFACE + settings((INITIAL_WINDOW, 1))) as peer:
        peer.settle()
        peer.send(asked(1))
        for _ in range(3):
            data = peer.until(DATA, 1)
            assert (len(data.payload), data.flags) == (1, 0)
            assert [got.kind for got in peer.alive()] == []
            peer.send(widen(1, 1))


def test_a_window_that_opens_by_settings_lets_out_what_waits(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(settings((INITIAL_WINDOW, 0)), asked(1))
        assert DATA not in [got.kind for got in peer.alive()]
        peer.send(settings((INITIAL_WINDOW, 1)))
        assert len(peer.until(DATA, 1).payload) == 1


def test_a_window_may_become_negative_and_must_then_become_positive_first(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(settings((INITIAL_WINDOW, 3)), asked(1))
        assert len(peer.until(DATA, 1).payload) == 3
        peer.send(settings((INITIAL_WINDOW, 1)), widen(1, 2))
        assert DATA not in [got.kind for got in peer.alive()]
        peer.send(widen(1, 1))
        assert len(peer.until(DATA, 1).payload) == 1


def test_a_reply_is_cut_into_frames_that_the_peer_takes(shared: Serving) -> None:
    with shared.peer(PREFACE + settings((INITIAL_WINDOW, 1 << 20), (MAX_FRAME, 20_000))) as peer:
        peer.settle()
        peer.send(call(1, wanted(50_000)))
        answer = peer.answer(1)
        assert (len(answer.body), answer.status) == (50_005, 0)
        sizes = [len(got.payload) for got in peer.seen if got.kind == DATA]
        assert sizes == [20_000, 20_000, 10_005]

"""RFC 9113, sections 5 and 8, and RFC 7541's faults, in the manner of h2spec: states of streams, and what a request is."""

import pytest

from benchmarks.hpack import literal
from benchmarks.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PREFACE,
    PRIORITY,
    WORD,
    frame,
    settings,
)
from tests.transport.http2.memory import wanted
from tests.transport.http2.peers import (
    CALL,
    GET,
    POST,
    Check,
    Fields,
    Serving,
    answers,
    asked,
    block,
    body,
    call,
    cancel,
    ends,
    grpc,
    head,
    lives,
    resets,
    serving,
    widen,
)

PRIORITY_FRAME = 2
PROTOCOL, STREAM_CLOSED, REFUSED, COMPRESSION, NO_ERROR = 1, 5, 7, 9, 0
WHOLE = END_HEADERS | END_STREAM
BLOCK = block(GET)


def priority(stream: int, depends_on: int) -> bytes:
    return frame(PRIORITY_FRAME, 0, stream, WORD.pack(depends_on) + b"\x0f")


STATES: dict[str, tuple[bytes, Check]] = {
    # 5.1 idle
    "5.1 DATA on an idle stream": (body(1, b"test"), ends(PROTOCOL)),
    "5.1 RST_STREAM on an idle stream": (cancel(1), ends(PROTOCOL)),
    "5.1 WINDOW_UPDATE on an idle stream": (widen(1, 100), ends(PROTOCOL)),
    "5.1 CONTINUATION on an idle stream": (frame(CONTINUATION, WHOLE, 1, BLOCK), ends(PROTOCOL)),
    "5.1 PRIORITY on an idle stream": (priority(1, 0), lives),
    "5.1 PRIORITY on an idle stream, then a request on a lower one": (priority(5, 0) + asked(1), answers()),
    # 5.1 half closed (remote)
    "5.1 DATA after the end": (asked(1) + body(1, b"test"), resets(1, STREAM_CLOSED)),
    "5.1 HEADERS after the end": (asked(1) + asked(1), ends(STREAM_CLOSED)),
    "5.1 CONTINUATION after the end": (asked(1) + frame(CONTINUATION, END_HEADERS, 1, BLOCK), ends(PROTOCOL)),
    "5.1 WINDOW_UPDATE after the end": (asked(1) + widen(1, 100), answers()),
    "5.1 PRIORITY after the end": (asked(1) + priority(1, 0), answers()),
    "5.1 RST_STREAM after the end": (asked(1) + cancel(1), lives),
    # 5.1 closed
    "5.1 DATA after RST_STREAM": (head(1, POST) + cancel(1) + body(1, b"test"), resets(1, STREAM_CLOSED)),
    "5.1 HEADERS after RST_STREAM": (head(1, POST) + cancel(1) + asked(1), ends(STREAM_CLOSED)),
    "5.1 CONTINUATION after RST_STREAM": (
        head(1, POST) + cancel(1) + frame(CONTINUATION, WHOLE, 1, BLOCK),
        ends(PROTOCOL),
    ),
    "5.1 PRIORITY after RST_STREAM": (head(1, POST) + cancel(1) + priority(1, 0), lives),
    "5.1 WINDOW_UPDATE after RST_STREAM": (head(1, POST) + cancel(1) + widen(1, 1), lives),
    "5.1 RST_STREAM after RST_STREAM": (head(1, POST) + cancel(1) + cancel(1), lives),
    # 5.1.1 numbers
    "5.1.1 an even number": (asked(2), ends(PROTOCOL)),
    "5.1.1 a lower number": (asked(5) + asked(3), ends(PROTOCOL)),
    "5.1.1 a higher number skips those between": (asked(1) + asked(9), answers(9)),
    "5.1.1 the largest number": (asked((1 << 31) - 1), answers((1 << 31) - 1)),
    # 5.3.1 dependencies
    "5.3.1 HEADERS that depend on themselves": (
        frame(HEADERS, WHOLE | PRIORITY, 1, WORD.pack(1) + b"\xff" + BLOCK),
        resets(1, PROTOCOL),
    ),
    "5.3.1 PRIORITY that depends on itself": (head(1, POST) + priority(1, 1), resets(1, PROTOCOL)),
    "5.3.1 PRIORITY of an idle stream that depends on itself": (priority(3, 3), ends(PROTOCOL)),
    # 8.1 message
    "8.1 a second HEADERS that does not end the stream": (
        head(1, POST) + body(1, b"test", 0) + head(1, POST),
        resets(1, PROTOCOL),
    ),
    "8.1 trailers": (head(1, POST) + body(1, b"test", 0) + asked(1, (("x-test", "ok"),)), answers()),
    "8.1 trailers right after the headers": (head(1, POST) + asked(1, (("x-test", "ok"),)), answers()),
    "8.1 trailers with a pseudo-header": (
        head(1, POST) + body(1, b"test", 0) + asked(1, ((":method", "GET"),)),
        resets(1, PROTOCOL),
    ),
    "8.1 trailers in upper case": (
        head(1, POST) + body(1, b"test", 0) + asked(1, (("X-TEST", "ok"),)),
        resets(1, PROTOCOL),
    ),
    "8.1 GET": (asked(1), answers()),
    "8.1 POST with DATA": (head(1, POST) + body(1, b"test"), answers()),
    "8.1 POST with DATA in pieces": (head(1, POST) + body(1, b"te", 0) + body(1, b"st"), answers()),
    "8.1 POST with an empty end": (head(1, POST) + body(1, b"test", 0) + body(1, b""), answers()),
    "8.1 POST with padding": (head(1, POST) + frame(DATA, PADDED | END_STREAM, 1, b"\x02test\0\0"), answers()),
    "8.1 GET with the content type of gRPC": (
        asked(1, (*GET, ("content-type", "application/grpc"))),
        answers(1, "405"),
    ),
    "8.1.2.6 a length that is kept": (head(1, (*POST, ("content-length", "4"))) + body(1, b"test"), answers()),
    "8.1.2.6 padding does not count": (
        head(1, (*POST, ("content-length", "4"))) + frame(DATA, PADDED | END_STREAM, 1, b"\x02test\0\0"),
        answers(),
    ),
    "8.1.2.6 a length that one frame exceeds": (
        head(1, (*POST, ("content-length", "1"))) + body(1, b"test"),
        resets(1, PROTOCOL),
    ),
    "8.1.2.6 a length that two frames exceed": (
        head(1, (*POST, ("content-length", "5"))) + body(1, b"test", 0) + body(1, b"test"),
        resets(1, PROTOCOL),
    ),
    "8.1.2.6 a length that is not reached": (
        head(1, (*POST, ("content-length", "5"))) + body(1, b"test"),
        resets(1, PROTOCOL),
    ),
    "8.1.2.6 a length that is not reached at the trailers": (
        head(1, (*POST, ("content-length", "5"))) + body(1, b"test", 0) + asked(1, (("x-test", "ok"),)),
        resets(1, PROTOCOL),
    ),
    "8.1.2.6 a length without a body": (asked(1, (*POST, ("content-length", "5"))), resets(1, PROTOCOL)),
    "8.1.2.6 a call of another length": (
        head(1, (*CALL, ("content-length", "9"))) + body(1, grpc(wanted(0))[:-1]),
        resets(1, PROTOCOL),
    ),
    # RFC 7541
    "2.3.3 an index beyond the tables": (frame(HEADERS, WHOLE, 1, BLOCK + b"\xc6"), ends(COMPRESSION)),
    "2.3.3 a name's index beyond the tables": (frame(HEADERS, WHOLE, 1, BLOCK + b"\x7f\x20\x01x"), ends(COMPRESSION)),
    "4.2 a table's size after the fields": (frame(HEADERS, WHOLE, 1, BLOCK + b"\x20"), ends(COMPRESSION)),
    "5.1 a number without end": (frame(HEADERS, WHOLE, 1, BLOCK + b"\xff" + b"\xff" * 12), ends(COMPRESSION)),
    "5.2 Huffman padding of eight bits": (
        frame(HEADERS, WHOLE, 1, BLOCK + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        ends(COMPRESSION),
    ),
    "5.2 Huffman padding of zeros": (
        frame(HEADERS, WHOLE, 1, BLOCK + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        ends(COMPRESSION),
    ),
    "5.2 the symbol EOS": (
        frame(HEADERS, WHOLE, 1, BLOCK + b"\x00\x85\xf2\xb2\x4a\x84\xff\x88\x49\x51\xff\xff\xff\xfa\x7f\xff"),
        ends(COMPRESSION),
    ),
    "6.1 index 0": (frame(HEADERS, WHOLE, 1, BLOCK + b"\x80"), ends(COMPRESSION)),
    "6.3 a table beyond the setting": (frame(HEADERS, WHOLE, 1, b"\x3f\xe2\x1f" + BLOCK), ends(COMPRESSION)),
    "6.3 a table of the setting's size": (frame(HEADERS, WHOLE, 1, b"\x3f\xe1\x1f" + BLOCK), answers()),
    "hpack indexed fields": (frame(HEADERS, WHOLE, 1, b"\x82\x86\x84" + literal("x-a", "b")), answers()),
    "hpack with indexing, then the index": (
        frame(HEADERS, WHOLE, 1, BLOCK + b"\x40\x03x-a\x01b") + frame(HEADERS, WHOLE, 3, b"\x82\x86\x84\xbe"),
        answers(3),
    ),
    "hpack never indexed": (frame(HEADERS, WHOLE, 1, BLOCK + b"\x10\x03x-a\x01b"), answers()),
    "hpack Huffman": (frame(HEADERS, WHOLE, 1, BLOCK + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x9f"), answers()),
}


@pytest.mark.parametrize("name", STATES)
def test_a_stream_leads_to_what_the_standard_says(shared: Serving, name: str) -> None:
    sent, check = STATES[name]
    with shared.peer() as peer:
        peer.settle()
        peer.send(sent)
        check(peer)


MALFORMED: dict[str, Fields] = {
    "8.1.2 upper case": (*GET, ("X-TEST", "ok")),
    "8.1.2 an empty name": (*GET, ("", "ok")),
    "8.1.2 a space in a name": (*GET, ("x test", "ok")),
    "8.1.2 a colon in a name": (*GET, ("x:test", "ok")),
    "8.1.2.1 an unknown pseudo-header": (*GET, (":test", "test")),
    "8.1.2.1 a pseudo-header of answers": (*GET, (":status", "200")),
    "8.1.2.1 a pseudo-header after a regular one": (*GET[:3], ("x-test", "ok"), GET[3]),
    "8.1.2.2 connection": (*GET, ("connection", "keep-alive")),
    "8.1.2.2 keep-alive": (*GET, ("keep-alive", "timeout=1")),
    "8.1.2.2 proxy-connection": (*GET, ("proxy-connection", "close")),
    "8.1.2.2 transfer-encoding": (*GET, ("transfer-encoding", "chunked")),
    "8.1.2.2 upgrade": (*GET, ("upgrade", "h2c")),
    "8.1.2.2 te other than trailers": (*GET, ("trailers", "test"), ("te", "trailers, deflate")),
    "8.1.2.3 an empty path": ((*GET[:2], (":path", ""), GET[3])),
    "8.1.2.3 no method": GET[1:],
    "8.1.2.3 no scheme": (GET[0], *GET[2:]),
    "8.1.2.3 no path": (*GET[:2], GET[3]),
    "8.1.2.3 two methods": (GET[0], *GET),
    "8.1.2.3 two schemes": (GET[1], *GET),
    "8.1.2.3 two paths": (GET[2], *GET),
    "8.1.2.6 a length that is no number": (*GET, ("content-length", "-1")),
    "8.1.2.6 two lengths": (*GET, ("content-length", "0"), ("content-length", "1")),
    "8.2.1 a line feed in a value": (*GET, ("x-test", "a\nb")),
    "8.2.1 a carriage return in a value": (*GET, ("x-test", "a\rb")),
    "8.2.1 a zero in a value": (*GET, ("x-test", "a\0b")),
    "8.2.1 a space before a value": (*GET, ("x-test", " a")),
    "8.2.1 a tab behind a value": (*GET, ("x-test", "a\t")),
    "8.2.1 a line feed in a path": ((*GET[:2], (":path", "/a\nb"), GET[3])),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_headers_reset_their_stream(shared: Serving, name: str) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(asked(1, MALFORMED[name]))
        resets(1, PROTOCOL)(peer)
        peer.send(asked(3))
        answers(3)(peer)


def test_the_answer_to_head_has_no_body(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(asked(1, ((":method", "HEAD"), *GET[1:])))
        answer = peer.answer(1)
        assert (answer.fields[":status"], answer.body) == ("415", b"")
        assert int(answer.fields["content-length"]) > 0
        assert [got.kind for got in peer.seen if got.stream == 1] == [HEADERS]


def test_a_stream_that_was_refused_or_answered_early_may_still_send_what_was_on_its_way(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        unknown = (*CALL[:2], (":path", "/test.Test/None"), *CALL[3:])
        peer.send(head(1, unknown))
        answer = peer.answer(1)
        assert answer.status == 12
        assert WORD.unpack(peer.until(3, 1).payload) == (NO_ERROR,)
        peer.send(body(1, b"late", 0), widen(1, 5), asked(1, (("x-late", "trailers"),)))
        lives(peer)
        peer.send(call(3, wanted(5)))
        assert len(peer.answer(3).body) == 10


def test_streams_beyond_the_limit_are_refused_and_the_others_live() -> None:
    with serving(max_concurrent_streams=3) as running, running.peer() as peer:
        peer.settle()
        peer.send(*(head(2 * number + 1, POST) for number in range(4)))
        resets(7, REFUSED)(peer)
        peer.send(body(1, b"x"))
        answers(1)(peer)
        peer.send(asked(9))
        answers(9)(peer)


def test_a_request_before_the_settings_are_acknowledged_is_answered(shared: Serving) -> None:
    with shared.peer(PREFACE + settings() + call(1, wanted(3))) as peer:
        assert len(peer.answer(1).body) == 8

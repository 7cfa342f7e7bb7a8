"""gRPC over HTTP/2, call by call: what both transports do alike, and what only ours does or is free to do."""

import gzip
from collections.abc import Iterator
from typing import Any

import grpc as grpcio
import pytest

from benchmarks.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW,
    PADDED,
    WORD,
    frame,
    settings,
)
from sidecar.errors import InvalidRequest
from sidecar.transport.http2.hpack import Decoder
from sidecar.transport.http2.replies import MOST_MESSAGE_BYTES, trailers_block
from tests.transport.http2.memory import (
    COLD,
    FAILING,
    ODD_TEXT,
    STREAM,
    UNARY,
    WATCH,
    WATCHED,
    reply_to,
    wanted,
)
from tests.transport.http2.peers import (
    CALL,
    Fields,
    Serving,
    asked,
    block,
    body,
    call,
    grpc,
    head,
    packed,
    to,
    widen,
)

OK, UNKNOWN, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 2, 3, 4, 8, 12, 13
MOST = 1 << 20


def replied(running: Serving, sent: bytes, stream: int = 1) -> tuple[int, bytes, str]:
    """Status, body and message of a call's answer."""
    with running.peer() as peer:
        peer.settle()
        peer.send(widen(0, 1 << 24), settings((INITIAL_WINDOW, 1 << 24)), sent)
        answer = peer.answer(stream)
        assert answer.fields[":status"] == "200"
        assert answer.fields["content-type"] == "application/grpc"
        return answer.status, answer.body, answer.fields.get("grpc-message", "")


GOOD = wanted(9, b"echo")
BODY = grpc(b"echo.echo")
# Calls that both answer with OK and the same bytes.
ANSWERED: dict[str, bytes] = {
    "a plain call": call(1, GOOD),
    "a message and an end of their own": head(1) + body(1, grpc(GOOD), 0) + body(1, b""),
    "a message in single bytes": head(1)
    + b"".join(body(1, grpc(GOOD)[at : at + 1], 0) for at in range(len(grpc(GOOD))))
    + body(1, b""),
    "headers in CONTINUATION": frame(HEADERS, 0, 1, block(CALL)[:20])
    + frame(CONTINUATION, END_HEADERS, 1, block(CALL)[20:])
    + body(1, grpc(GOOD)),
    "application/grpc+proto": call(1, GOOD, (*CALL[:4], ("content-type", "application/grpc+proto"), CALL[5])),
    "binary metadata": call(1, GOOD, (*CALL, ("trace-bin", "AP8"), ("trace-bin", "AP8="))),
    "a user agent and more": call(1, GOOD, (*CALL, ("user-agent", "test/1"), ("grpc-accept-encoding", "gzip"))),
    "a deadline in hours": call(1, GOOD, (*CALL, ("grpc-timeout", "1H"))),
    "a deadline in minutes": call(1, GOOD, (*CALL, ("grpc-timeout", "10M"))),
    "a deadline in seconds": call(1, GOOD, (*CALL, ("grpc-timeout", "99999999S"))),
    "a deadline in milliseconds": call(1, GOOD, (*CALL, ("grpc-timeout", "50000m"))),
    "a deadline in microseconds": call(1, GOOD, (*CALL, ("grpc-timeout", "50000000u"))),
    "gzip": head(1, (*CALL, ("grpc-encoding", "gzip"))) + body(1, packed(GOOD, "gzip")),
    "deflate": head(1, (*CALL, ("grpc-encoding", "deflate"))) + body(1, packed(GOOD, "deflate")),
    "gzip announced and not used": head(1, (*CALL, ("grpc-encoding", "gzip"))) + body(1, grpc(GOOD)),
    "identity": call(1, GOOD, (*CALL, ("grpc-encoding", "identity"))),
    "a rare method": call(1, GOOD, to(COLD)),
    "a stream with the longest deadline": call(1, GOOD, to(STREAM, ("grpc-timeout", "99999999H"))),
    "a stream of one": call(1, GOOD, to(STREAM)),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_both_transports_answer(both: Serving, name: str) -> None:
    assert replied(both, ANSWERED[name]) == (OK, BODY, "")


def test_an_empty_message_is_a_message(both: Serving) -> None:
    assert replied(both, call(1, b"")) == (OK, grpc(b""), "")


def test_a_stream_gets_a_reply_for_each_message_in_order(both: Serving) -> None:
    sent = [wanted(4, bytes((65 + number,))) for number in range(20)]
    expected = b"".join(grpc(bytes((65 + number, 46)) * 2) for number in range(20))
    assert replied(both, head(1, to(STREAM)) + body(1, b"".join(map(grpc, sent)))) == (OK, expected, "")
    in_pieces = b"".join(body(1, piece, 0) for each in sent for piece in (grpc(each)[:3], grpc(each)[3:]))
    assert replied(both, head(1, to(STREAM)) + in_pieces + body(1, b"")) == (OK, expected, "")


def test_a_stream_without_messages_ends_well(both: Serving) -> None:
    assert replied(both, asked(1, to(STREAM)))[0] == OK
    assert replied(both, head(1, to(STREAM)) + body(1, b""))[0] == OK


def test_a_watch_sends_its_replies(both: Serving) -> None:
    assert replied(both, call(1, GOOD, to(WATCH))) == (OK, BODY * WATCHED, "")


def test_padding_is_no_part_of_a_message(shared: Serving) -> None:
    sent = head(1) + frame(DATA, PADDED | END_STREAM, 1, b"\x07" + grpc(GOOD) + bytes(7))
    assert replied(shared, sent) == (OK, BODY, "")


def test_large_replies_and_messages_arrive_whole(both: Serving) -> None:
    raw = wanted(900_000, bytes(range(256)) * 200)  # what may be sent before the window is opened
    assert replied(both, head(1) + b"".join(_cut(grpc(raw)))) == (OK, grpc(reply_to(raw)), "")


def _cut(raw: bytes) -> Iterator[bytes]:
    for at in range(0, len(raw), 16_384):
        yield body(1, raw[at : at + 16_384], END_STREAM if at + 16_384 >= len(raw) else 0)


# What both refuse, with the status that gRPC names for it.
REFUSED: dict[str, tuple[bytes, int]] = {
    "an unknown method": (call(1, GOOD, to("/test.Test/None")), UNIMPLEMENTED),
    "an unknown service": (call(1, GOOD, to("/none.None/Unary")), UNIMPLEMENTED),
    "a deadline that has passed": (head(1, (*CALL, ("grpc-timeout", "1n"))), DEADLINE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_transports_refuse(both: Serving, name: str) -> None:
    sent, code = REFUSED[name]
    assert replied(both, sent)[0] == code


# What ours refuses; grpcio answers some of them otherwise or not at all.
OURS: dict[str, tuple[bytes, int]] = {
    "a message over the limit": (head(1) + body(1, b"\0" + WORD.pack(MOST + 1) + bytes(100), 0), EXHAUSTED),
    "a compression that is not served": (
        head(1, (*CALL, ("grpc-encoding", "snappy"))) + body(1, b"\1" + grpc(GOOD)[1:]),
        UNIMPLEMENTED,
    ),
    "no message": (asked(1, CALL), UNIMPLEMENTED),
    "an end without a message": (head(1) + body(1, b""), UNIMPLEMENTED),
    "two messages": (head(1) + body(1, grpc(GOOD) * 2), INTERNAL),
    "two messages in frames of their own": (head(1) + body(1, grpc(GOOD), 0) + body(1, grpc(GOOD)), INTERNAL),
    "an end within a message": (head(1) + body(1, grpc(GOOD)[:-1]), INVALID),
    "an end within a prefix": (head(1) + body(1, b"\0\0\0"), INVALID),
    "bytes behind the message": (head(1) + body(1, grpc(GOOD) + b"\0"), INVALID),
    "a flag that is neither 0 nor 1": (head(1) + body(1, b"\2" + grpc(GOOD)[1:]), INTERNAL),
    "the compressed flag without a compression": (head(1) + body(1, b"\1" + grpc(GOOD)[1:]), INTERNAL),
    "the compressed flag with identity": (
        head(1, (*CALL, ("grpc-encoding", "identity"))) + body(1, b"\1" + grpc(GOOD)[1:]),
        INTERNAL,
    ),
    "what is no gzip": (head(1, (*CALL, ("grpc-encoding", "gzip"))) + body(1, b"\1" + grpc(GOOD)[1:]), INTERNAL),
    "gzip that is cut off": (
        head(1, (*CALL, ("grpc-encoding", "gzip"))) + body(1, b"\1" + grpc(gzip.compress(GOOD)[:-9])[1:]),
        INTERNAL,
    ),
    "too much once unpacked": (
        head(1, (*CALL, ("grpc-encoding", "gzip"))) + body(1, packed(bytes(MOST + 1), "gzip")),
        EXHAUSTED,
    ),
    **{
        f"the timeout {value!r}": (call(1, GOOD, (*CALL, ("grpc-timeout", value))), INVALID)
        for value in ("", "S", "1", "1s", "-1S", "1.5S", "123456789S", "soon", "1 S")
    },
    "headers over the limit": (call(1, GOOD, (*CALL, ("x-filler", "v" * 16_200))), EXHAUSTED),
}


@pytest.mark.parametrize("name", OURS)
def test_ours_refuses(shared: Serving, name: str) -> None:
    sent, code = OURS[name]
    got, content, message = replied(shared, sent)
    assert (got, content) == (code, b"")
    assert message


def test_a_refusal_before_the_end_asks_for_no_more_of_the_call(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(head(1) + body(1, b"\2" + grpc(GOOD)[1:], 0))
        assert peer.answer(1).status == INTERNAL
        assert WORD.unpack(peer.until(3, 1).payload) == (0,)
        peer.send(head(3) + body(3, b"\2" + grpc(GOOD)[1:]))
        assert peer.answer(3).status == INTERNAL
        assert [got.kind for got in peer.alive()] == []  # a call that has ended is not reset


def test_the_compressions_that_are_served_are_named_where_another_came(shared: Serving) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(head(1, (*CALL, ("grpc-encoding", "zstd"))) + body(1, b"\1" + grpc(GOOD)[1:]))
        answer = peer.answer(1)
        assert answer.fields["grpc-accept-encoding"] == "identity,deflate,gzip"
        assert "zstd" in answer.fields["grpc-message"]


@pytest.mark.parametrize(
    "kind", ["text/html", "application/json", "application/grpcx", "application/grpc-web+proto", ""]
)
def test_another_content_type_is_415_and_says_what_is_spoken_here(shared: Serving, kind: str) -> None:
    with shared.peer() as peer:
        peer.settle()
        peer.send(call(1, GOOD, (*CALL[:4], ("content-type", kind), CALL[5])))
        answer = peer.answer(1)
        assert (answer.fields[":status"], answer.fields["content-type"]) == ("415", "text/plain; charset=utf-8")
        assert b"gRPC" in answer.body


@pytest.mark.parametrize("fields", [CALL[:5], (*CALL[:4], ("content-type", "application/grpc;charset=utf-8"))])
def test_ours_takes_calls_without_te_and_with_parameters_of_the_content_type(shared: Serving, fields: Fields) -> None:
    assert replied(shared, call(1, GOOD, fields)) == (OK, BODY, "")


def test_messages_of_errors_are_percent_encoded_as_grpc_does(both: Serving) -> None:
    assert replied(both, call(1, b"", to(FAILING)))[2] == "100 %25 of %C3%A9 and %0A, but ~ stays"
    with grpcio.insecure_channel(both.address) as channel:
        method: Any = channel.unary_unary(FAILING)
        with pytest.raises(grpcio.RpcError) as caught:
            method(b"", timeout=10)
    assert (caught.value.code(), caught.value.details()) == (grpcio.StatusCode.INVALID_ARGUMENT, ODD_TEXT)


def test_a_long_message_is_cut_between_its_characters() -> None:
    block = trailers_block(InvalidRequest("x" + "é" * 5000))
    message = dict(Decoder(max_list_bytes=1 << 20).decode(block))[b"grpc-message"]
    assert MOST_MESSAGE_BYTES - 6 < len(message) <= MOST_MESSAGE_BYTES
    assert message.replace(b"%C3%A9", b"") == b"x"


# Deadlines.


def test_a_call_that_is_never_ended_ends_at_its_deadline(both: Serving) -> None:
    for path in (UNARY, STREAM):
        assert replied(both, head(1, to(path, ("grpc-timeout", "50m"))))[0] == DEADLINE

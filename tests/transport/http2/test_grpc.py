"""gRPC over HTTP/2, call by call: what both transports do alike, and what only ours does or is free to do."""

import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import grpc as grpcio
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PADDED,
    PING,
    PREFACE,
    WORD,
    frame,
    settings,
)
from sidecar.door.certificates import Certificates
from sidecar.door.settings import TlsConfig
from sidecar.errors import InvalidRequest
from sidecar.transport.http2.greeting import HTTP1_ANSWER
from sidecar.transport.http2.hpack import Decoder
from sidecar.transport.http2.peer import HEARD_S
from sidecar.transport.http2.replies import MOST_MESSAGE_BYTES, trailers_block
from tests import pki
from tests.transport.http2.memory import (
    COLD,
    FAILING,
    HEALTH_WATCH,
    ODD_TEXT,
    STREAM,
    UNARY,
    WATCH,
    WATCHED,
    Memory,
    closed,
    reply_to,
    wanted,
)
from tests.transport.http2.peers import (
    CALL,
    Fields,
    Peer,
    Serving,
    asked,
    block,
    body,
    call,
    cancel,
    grpc,
    head,
    serving,
    widen,
)
from tests.transport.http2.test_floods import last_code, opened
from tests.transport.http2.test_hostile_peers import frames, packed, status, to

OK, UNKNOWN, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 2, 3, 4, 8, 12, 13
MOST = 1 << 20


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def both(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """Each transport on a real port."""
    with serving(request.param, max_message_bytes=MOST) as running:
        yield running


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


# Connections that end.


def test_a_connection_of_age_ends_in_two_steps_and_calls_between_them_are_answered() -> None:
    memory = Memory(max_connection_age_seconds=100.0, max_connection_age_grace_seconds=10.0)
    line = opened(memory)
    line.send(head(1, to(STREAM)))
    for _ in range(3):  # before its age, whatever the jitter
        memory.wait(29.0)
        line.send(frame(PING, ACK, 0, b"alive?\0\0"))
    memory.wait(25.0)
    told = frames(line.wire.take())
    assert [(kind, content) for kind, _, content in told if kind in (GOAWAY, PING)] == [
        (GOAWAY, WORD.pack((1 << 31) - 1) + WORD.pack(0)),
        (PING, b"ending\0\0"),
    ]
    assert status(line.send(call(3, GOOD)), 3) == OK
    second = line.send(frame(PING, ACK, 0, b"ending\0\0"))
    assert frames(second) == [(GOAWAY, 0, WORD.pack(3) + WORD.pack(0))]
    assert line.send(call(5, GOOD)) == b""
    assert b"echo.echo" in line.send(body(1, grpc(GOOD), 0))
    assert not line.wire.closed
    assert status(line.send(body(1, b"")), 1) == OK
    assert line.wire.closed
    closed(memory.server)


def test_a_peer_that_does_not_say_that_it_heard_gets_the_second_step_all_the_same() -> None:
    memory = Memory()
    line = opened(memory)
    line.send(head(1, to(STREAM)))
    line.connection.drain(memory.clock.now + 5.0)
    memory.loop.run()
    assert len(frames(line.wire.take())) == 2
    memory.wait(HEARD_S + 0.01)
    assert frames(line.wire.take()) == [(GOAWAY, 0, WORD.pack(1) + WORD.pack(0))]
    memory.wait(5.0)
    assert line.wire.closed
    closed(memory.server)


def test_a_peer_that_leaves_gets_the_answers_of_what_it_opened() -> None:
    memory = Memory()
    line = opened(memory)
    memory.services.busy = True
    line.send(call(1, GOOD) + frame(GOAWAY, 0, 0, bytes(8)) + call(3, GOOD))
    memory.services.busy = False
    sent = line.send(b"")
    assert (status(sent, 1), status(sent, 3)) == (OK, None)
    assert line.wire.closed
    closed(memory.server)


def test_a_drain_answers_what_is_open_and_tells_the_peer() -> None:
    with serving() as running, running.peer() as peer:
        peer.settle()
        peer.send(head(1, to(STREAM)) + body(1, grpc(GOOD), 0))
        assert peer.until(DATA, 1).payload == BODY
        draining = threading.Thread(target=running.server.drain, args=(20.0,))
        draining.start()
        told = peer.until(GOAWAY)
        assert told.payload == WORD.pack((1 << 31) - 1) + WORD.pack(0)
        assert peer.until(PING).payload == b"ending\0\0"
        peer.send(call(3, GOOD), frame(PING, 1, 0, b"ending\0\0"))
        assert peer.answer(3).body == BODY
        peer.send(body(1, grpc(GOOD)))
        answer = peer.answer(1)
        assert (answer.body, answer.status) == (BODY, OK)
        assert peer.ending() is None
        draining.join(20.0)
        assert not draining.is_alive()


# Health.


def test_any_number_of_watches_of_health_are_told_of_each_change() -> None:
    memory = Memory()
    lines = [opened(memory) for _ in range(3)]
    for line in lines:
        watches = b"".join(call(2 * number + 1, b"", to(HEALTH_WATCH)) for number in range(200))
        assert line.send(watches).count(grpc(b"\x08\1")) == 200
    memory.health.set("", serving=False)
    memory.loop.run()
    assert [line.wire.take().count(grpc(b"\x08\2")) for line in lines] == [200] * 3
    assert status(lines[0].send(call(1001, GOOD)), 1001) == OK
    lines[0].send(b"".join(cancel(2 * number + 1) for number in range(200)))
    lines[1].lose()
    assert len(memory.server._watchers._calls[""]) == 200
    lines[2].lose()
    assert not memory.server._watchers._calls
    closed(memory.server)


def test_a_watch_of_health_whose_reader_is_slow_is_told_the_latest_only() -> None:
    memory = Memory()
    line = opened(memory)
    line.send(settings((INITIAL_WINDOW, 0)) + call(1, b"", to(HEALTH_WATCH)))
    for serving_now in (False, True, False, True, False):
        memory.health.set("", serving=serving_now)
        memory.loop.run()
    got = [content for kind, _, content in frames(line.send(widen(1, 1000))) if kind == DATA]
    assert got == [grpc(b"\x08\1"), grpc(b"\x08\2")]
    closed(memory.server)


def test_a_client_of_grpcio_watches_health(both: Serving) -> None:
    with grpcio.insecure_channel(both.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service="device"), timeout=20) for _ in range(20)]
        assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.SERVING}
        both.health.set("device", serving=False)
        assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.NOT_SERVING}
        both.health.set("device", serving=True)
        for watch in watches:
            watch.cancel()


# Slow readers.


def test_a_slow_reader_of_a_large_reply_gets_it_whole_and_delays_no_other(both: Serving) -> None:
    large = wanted(400_000, b"large")
    with both.peer() as slow, both.peer() as quick:
        slow.settle()
        quick.settle()
        slow.send(call(1, large))  # the first 65,535 bytes, then nothing until the windows open
        for number in range(20):
            quick.send(call(2 * number + 1, GOOD))
            assert quick.answer(2 * number + 1).body == BODY
        slow.send(widen(0, 1 << 20))
        slow.send(*[widen(1, 40_000)] * 10)
        answer = slow.answer(1)
        assert (answer.body, answer.status) == (grpc(reply_to(large)), OK)


def test_calls_pass_a_slow_stream_on_the_same_connection(both: Serving) -> None:
    with both.peer(PREFACE + settings((INITIAL_WINDOW, 100))) as peer:
        peer.settle()
        peer.send(head(1, to(STREAM)), *[body(1, grpc(wanted(90)), 0)] * 5, call(3, GOOD))
        assert peer.answer(3).body == BODY
        peer.send(widen(1, 1000), body(1, b""))
        assert peer.answer(1).status == OK
        received = b"".join(got.payload for got in peer.seen if (got.kind, got.stream) == (DATA, 1))
        assert received == grpc(b"." * 90) * 5


# TLS.


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, ssl.SSLContext]]:
    """A transport with TLS, and the context of a client that trusts it."""
    authority = trustme.CA()
    files = pki.write(pki.issue(authority), tmp_path_factory.mktemp("tls"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with serving(
        certificates=Certificates(TlsConfig(certificate=str(files.certificate), key=str(files.key)))
    ) as running:
        yield running, context


def shaken(running: Serving, context: ssl.SSLContext) -> ssl.SSLSocket:
    host, _, port = running.address.rpartition(":")
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=20), server_hostname=host)


def test_tls_agrees_on_h2_and_serves(secure: tuple[Serving, ssl.SSLContext]) -> None:
    running, context = secure
    context.set_alpn_protocols(["http/1.1", "h2"])
    with shaken(running, context) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        connection.sendall(PREFACE + settings() + call(1, GOOD))
        got = b""
        while b"echo.echo" not in got:
            got += connection.recv(1 << 16)
        connection.sendall(frame(PING, 0, 0, b""))
        while chunk := connection.recv(1 << 16):
            got += chunk
        assert last_code(got) == 6
    assert running.notes["PING of a wrong length"] == 1


def test_plain_text_on_a_port_with_tls_is_closed_and_counted(secure: tuple[Serving, ssl.SSLContext]) -> None:
    running, _ = secure
    with running.peer() as peer:
        assert peer.socket.recv(100)[:1] in (b"", b"\x15")  # at most TLS's own alert
    with shaken(running, secure[1]) as connection:
        connection.sendall(PREFACE + settings())
        assert connection.recv(9)


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"GET / HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http2_is_told_so_and_closed(said: bytes) -> None:
    with serving() as running, Peer(running.address, said) as stranger:
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := stranger.socket.recv(1 << 16):
                got += chunk
        assert got == (HTTP1_ANSWER if said.startswith(b"GET") else b"")
        assert len(running.notes) == 1

"""How connections that carry gRPC begin, go on beside slow readers and watches, and end."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import grpc as grpcio
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.http2 import (
    ACK,
    DATA,
    GOAWAY,
    INITIAL_WINDOW,
    PING,
    PREFACE,
    WORD,
    frame,
    settings,
)
from sidecar.door.certificates import Certificates
from sidecar.door.settings import TlsConfig
from sidecar.transport.http2.greeting import HTTP1_ANSWER
from sidecar.transport.http2.lifetime import HEARD_S
from tests import pki
from tests.transport.http2.memory import (
    HEALTH_WATCH,
    STREAM,
    Memory,
    closed,
    reply_to,
    wanted,
)
from tests.transport.http2.peers import (
    Peer,
    Serving,
    body,
    call,
    cancel,
    grpc,
    head,
    serving,
    to,
    widen,
)
from tests.transport.http2.reading import frames, last_code, status

OK = 0


GOOD = wanted(9, b"echo")
BODY = grpc(b"echo.echo")


def test_a_connection_of_age_ends_in_two_steps_and_calls_between_them_are_answered() -> None:
    memory = Memory(max_connection_age_seconds=100.0, max_connection_age_grace_seconds=10.0)
    line = memory.opened()
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
    line = memory.opened()
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
    line = memory.opened()
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
    lines = [memory.opened() for _ in range(3)]
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
    line = memory.opened()
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

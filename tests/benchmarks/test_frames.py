"""The frames client against a server of a few lines that answers only when the test says so."""

import math
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from benchmarks import http2
from benchmarks.client import DEADLINE_EXCEEDED, OK, UNAVAILABLE, Reply
from benchmarks.frames import FramesClient
from benchmarks.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_STREAMS,
    PING,
    PREFACE,
    RST_STREAM,
    WORD,
    frame,
    message,
    settings,
)

METHOD = "/a.B/C"
TRAILERS = b"\x00\x0bgrpc-status\x010"
PATIENCE_S = 5.0
Frame = tuple[int, int, int, bytes]


class Peer:
    """The server's end of one connection."""

    def __init__(self, listener: socket.socket) -> None:
        self.socket, _ = listener.accept()
        self.socket.settimeout(PATIENCE_S)
        self._unread = b""
        assert self._take(len(PREFACE)) == PREFACE

    def _take(self, size: int) -> bytes:
        while len(self._unread) < size:
            chunk = self.socket.recv(65536)
            assert chunk, "the client has closed"
            self._unread += chunk
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def answer(self, stream: int, body: bytes = b"") -> None:
        self.send(
            frame(HEADERS, END_HEADERS, stream, b"\x88"),
            frame(DATA, 0, stream, message(body)),
            frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS),
        )

    def seen(self, client: FramesClient) -> list[Frame]:
        """All frames that the client has sent until now; they come before the answer to a ping."""
        self.send(frame(PING, 0, 0, bytes(8)))
        assert client.wait(PATIENCE_S) == []
        client.wait(0.0)
        frames: list[Frame] = []
        while True:
            high, low, kind, flags, stream = http2.HEAD.unpack(self._take(http2.HEAD.size))
            frames.append((kind, flags, stream, self._take(high << 8 | low)))
            if kind == PING and flags & ACK:
                return frames


def begun(frames: list[Frame]) -> list[int]:
    return [stream for kind, _, stream, _ in frames if kind == HEADERS]


def ended(client: FramesClient, count: int = 1) -> list[Reply]:
    replies: list[Reply] = []
    for _ in range(1000):
        if len(replies) >= count:
            break
        replies += client.wait(PATIENCE_S)
    return replies


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def listener(stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_server(("127.0.0.1", 0)))


@contextmanager
def connected(
    listener: socket.socket, *pairs: tuple[int, int], deadline_s: float | None = None, reconnect: bool = False
) -> Iterator[tuple[FramesClient, Peer]]:
    client = FramesClient(f"127.0.0.1:{listener.getsockname()[1]}", METHOD, deadline_s=deadline_s, reconnect=reconnect)
    peer = Peer(listener)
    try:
        if pairs:
            peer.send(settings(*pairs))
            client.wait(PATIENCE_S)
        yield client, peer
    finally:
        client.close()
        peer.socket.close()


def next_peer(listener: socket.socket, client: FramesClient, stack: ExitStack) -> Peer:
    """The next connection of the client, up to where it may send."""
    client.wait(0.0)
    peer = Peer(listener)
    stack.callback(peer.socket.close)
    peer.send(settings())
    client.wait(PATIENCE_S)
    return peer


def test_no_call_begins_before_the_servers_settings(listener: socket.socket) -> None:
    with connected(listener) as (client, peer):
        client.send(b"early", 0)
        assert begun(peer.seen(client)) == []
        peer.send(settings())
        client.wait(PATIENCE_S)
        assert begun(peer.seen(client)) == [1]


def test_calls_over_the_servers_limit_wait_in_the_client_in_their_order(listener: socket.socket) -> None:
    with connected(listener, (MAX_STREAMS, 2)) as (client, peer):
        for key in range(5):
            client.send(b"%d" % key, key)
        frames = peer.seen(client)
        assert begun(frames) == [1, 3]
        peer.answer(3)
        first = ended(client)
        assert [(reply.key, reply.sent) for reply in first] == [(1, 0.0)]
        frames = peer.seen(client)
        assert begun(frames) == [5]
        assert [payload for kind, _, _, payload in frames if kind == DATA] == [message(b"2")]
        peer.answer(5)
        (waited,) = ended(client)
        assert waited.key == 2
        assert first[0].at <= waited.sent <= waited.at


def test_a_limit_that_is_raised_lets_more_begin(listener: socket.socket) -> None:
    with connected(listener, (MAX_STREAMS, 0)) as (client, peer):
        for key in range(3):
            client.send(b"", key)
        assert begun(peer.seen(client)) == []
        peer.send(settings((MAX_STREAMS, 2)))
        client.wait(PATIENCE_S)
        assert begun(peer.seen(client)) == [1, 3]


def test_a_call_whose_deadline_passes_is_cancelled_and_makes_room(listener: socket.socket) -> None:
    with connected(listener, (MAX_STREAMS, 1), deadline_s=0.02) as (client, peer):
        client.send(b"slow", 0)
        client.send(b"next", 1, 60.0)
        (late,) = ended(client)
        assert (late.key, late.status, late.sent) == (0, DEADLINE_EXCEEDED, 0.0)
        frames = peer.seen(client)
        assert begun(frames) == [1, 3]
        first, second = (payload for kind, _, _, payload in frames if kind == HEADERS)
        assert first.endswith(b"\x0cgrpc-timeout\x0620000u")
        assert b"grpc-timeout" in second
        assert (RST_STREAM, 0, 1, WORD.pack(http2.CANCEL)) in frames
        # What the server says of it afterwards concerns nobody.
        peer.answer(1, b"too late")
        peer.answer(3, b"fine")
        assert [(reply.key, reply.status, reply.body) for reply in ended(client)] == [(1, OK, b"fine")]
        (connection,) = client._connections
        assert (connection._bodies, connection._blocks) == ({}, {})


def test_a_deadline_also_passes_while_a_call_waits_in_the_client(listener: socket.socket) -> None:
    with connected(listener, (MAX_STREAMS, 1)) as (client, peer):
        client.send(b"long", 0, 60.0)
        client.send(b"short", 1, 0.01)
        client.send(b"last", 2, 60.0)
        (expired,) = ended(client)
        assert (expired.key, expired.status) == (1, DEADLINE_EXCEEDED)
        assert math.isnan(expired.sent)
        peer.answer(1)
        assert [reply.key for reply in ended(client)] == [0]
        frames = peer.seen(client)
        assert [payload for kind, _, _, payload in frames if kind == DATA] == [message(b"long"), message(b"last")]
        assert not [kind for kind, _, _, _ in frames if kind == RST_STREAM]


def test_an_answer_in_time_leaves_no_deadline_behind(listener: socket.socket) -> None:
    with connected(listener, (MAX_STREAMS, 9), deadline_s=0.05) as (client, peer):
        client.send(b"", 0)
        client.wait(0.0)
        peer.answer(1)
        assert [reply.status for reply in ended(client)] == [OK]
        assert client.wait(0.1) == []


def test_a_lost_connection_ends_its_calls_and_carries_those_in_line_elsewhere(
    listener: socket.socket, stack: ExitStack
) -> None:
    with connected(listener, (MAX_STREAMS, 1), reconnect=True) as (client, peer):
        client.send(b"lost", 0)
        client.send(b"in line", 1)
        client.wait(0.0)
        peer.socket.close()
        (lost,) = ended(client)
        assert (lost.key, lost.status) == (0, UNAVAILABLE)
        other = next_peer(listener, client, stack)
        client.send(b"later", 2)
        bodies = [payload for kind, _, _, payload in other.seen(client) if kind == DATA]
        assert bodies == [message(b"in line"), message(b"later")]
        # One that is lost again at once is had again at once.
        other.socket.close()
        assert [reply.status for reply in ended(client, 2)] == [UNAVAILABLE, UNAVAILABLE]
        client.send(b"third", 3)
        third = next_peer(listener, client, stack)
        assert [payload for kind, _, _, payload in third.seen(client) if kind == DATA] == [message(b"third")]


def test_without_reconnecting_all_calls_of_a_lost_connection_are_unavailable(listener: socket.socket) -> None:
    with connected(listener, (MAX_STREAMS, 1)) as (client, peer):
        for key in range(3):
            client.send(b"", key)
        client.wait(0.0)
        peer.socket.close()
        replies = ended(client, 3)
        assert {(reply.key, reply.status) for reply in replies} == {(key, UNAVAILABLE) for key in range(3)}
        client.send(b"", 3)
        assert [reply.status for reply in ended(client)] == [UNAVAILABLE]


def test_a_server_that_is_away_makes_calls_unavailable_until_it_is_back(
    listener: socket.socket, stack: ExitStack
) -> None:
    with connected(listener, (MAX_STREAMS, 9), reconnect=True) as (client, peer):
        port = listener.getsockname()[1]
        listener.close()
        peer.socket.close()
        for key in range(3):
            client.send(b"", key)
            assert [(reply.key, reply.status) for reply in ended(client)] == [(key, UNAVAILABLE)]
        back = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        client._again = [0.0]  # the backoff is over
        client.send(b"again", 9)
        next_peer(back, client, stack).answer(1, b"here")
        assert [(reply.status, reply.body) for reply in ended(client)] == [(OK, b"here")]


def test_a_server_that_says_goodbye_ends_what_it_began_and_gets_nothing_more(
    listener: socket.socket, stack: ExitStack
) -> None:
    with connected(listener, (MAX_STREAMS, 1), reconnect=True) as (client, peer):
        client.send(b"old", 0)
        client.send(b"in line", 1)
        client.wait(0.0)
        peer.send(frame(GOAWAY, 0, 0, WORD.pack(1) + WORD.pack(0)))
        assert client.wait(PATIENCE_S) == []
        other = next_peer(listener, client, stack)
        assert [payload for kind, _, _, payload in other.seen(client) if kind == DATA] == [message(b"in line")]
        assert begun(peer.seen(client)) == [1]
        peer.answer(1, b"done")
        assert [(reply.key, reply.status, reply.body) for reply in ended(client)] == [(0, OK, b"done")]


def test_a_silent_server_that_never_says_its_settings_cannot_outlast_a_deadline(listener: socket.socket) -> None:
    with connected(listener, deadline_s=0.01) as (client, _):
        client.send(b"", 0)
        assert [reply.status for reply in ended(client)] == [DEADLINE_EXCEEDED]


def test_calls_that_a_closed_window_holds_back_are_not_looked_at_again_and_again(listener: socket.socket) -> None:
    class Counted(dict):  # type: ignore[type-arg]
        looked_at = 0

        def items(self) -> Iterator[object]:  # type: ignore[override]
            for pair in super().items():
                Counted.looked_at += 1
                yield pair

    with connected(listener, (MAX_STREAMS, 1000)) as (client, peer):
        (connection,) = client._connections
        connection._blocked = Counted()
        for key in range(500):
            client.send(bytes(1000), key)
        assert len(connection._blocked) > 400
        assert Counted.looked_at <= 1000
        peer.send(frame(http2.WINDOW_UPDATE, 0, 0, WORD.pack(1 << 20)))
        sent = [payload for kind, _, _, payload in peer.seen(client) if kind == DATA]
        assert b"".join(sent) == message(bytes(1000)) * 500

"""A peer that keeps no rule of HTTP/2, and the rules that it breaks."""

import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.hpack import literal
from benchmarks.http2 import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    TABLE_SIZE,
    WINDOW_UPDATE,
    WORD,
    frame,
    message,
    settings,
)
from sidecar.lanes.services import ROUTE, ROUTE_STREAM
from sidecar.wire import router_pb2 as pb

MARK = "qZxMarkxZq"  # stands in every prompt; the sidecar must not log it
PROMPT = pb.RouteRequest(text=f"prove the theorem {MARK}").SerializeToString()
PRIORITY_FRAME, PUSH_PROMISE = 2, 5
PATIENCE_S = 5.0
ALL_READ = b"all read"
STREAMS = 40  # of one connection: below every limit of concurrent streams

Headers = tuple[tuple[str, str], ...]
GOOD: Headers = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", ROUTE),
    (":authority", "sidecar"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


class Rude:
    """One connection.

    Args:
        address: of the sidecar.
        greeting: what is sent first; a sound preface if left out.

    Attributes:
        gone: the sidecar has closed.
    """

    def __init__(self, address: str, greeting: bytes = PREFACE + settings()) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self.socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.gone = False
        self._settled = False
        self._tail = b""
        self.send(greeting)

    def send(self, data: bytes) -> None:
        """Sends all of it, unless the sidecar closes or reads no further."""
        left = memoryview(data)
        while left and not self.gone:
            events = self._events(select.POLLIN | select.POLLOUT)
            readable, writable = events & ~select.POLLOUT, events & select.POLLOUT
            if readable:
                self._hear()
            if writable and not self.gone:
                try:
                    left = left[self.socket.send(left) :]
                except OSError:
                    self.gone = True
            if not readable and not writable:
                return

    def _events(self, wanted: int) -> int:
        """What can be done; 0 if nothing in time. Not select, which knows only the first 1,024 descriptors of a process."""
        poll = select.poll()
        poll.register(self.socket, wanted)
        return sum(events for _, events in poll.poll(PATIENCE_S * 1000))

    def settle(self) -> None:
        """Waits until the sidecar has read everything, or closes."""
        self.send(frame(PING, 0, 0, ALL_READ))
        while not self.gone and not self._settled:
            if not self._events(select.POLLIN):
                raise AssertionError("the sidecar neither reads on nor closes")
            self._hear()

    def vanish(self) -> None:
        """Closes without a word: the peer gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _hear(self) -> None:
        try:
            chunk = self.socket.recv(1 << 16)
        except OSError:
            chunk = b""
        self.gone = not chunk
        self._settled = self._settled or ALL_READ in self._tail + chunk
        self._tail = (self._tail + chunk)[-len(ALL_READ) :]


class Attack(NamedTuple):
    """One way to be rude.

    Attributes:
        name: what is wrong.
        pieces: gives the pieces for one connection.
        connections: how many.
        ending: `vanish`, `hold` (stays open and silent to the end), or `settle`: is read to the end, then closed.
        greeting: what the connection begins with.
    """

    name: str
    pieces: Callable[[random.Random], list[bytes]]
    connections: int
    ending: str = "settle"
    greeting: bytes = PREFACE + settings()


def head(stream: int, flags: int = END_HEADERS, fields: Headers = GOOD) -> bytes:
    """A HEADERS frame."""
    return frame(HEADERS, flags, stream, b"".join(literal(*field) for field in fields))


def body(stream: int, data: bytes, flags: int = END_STREAM) -> bytes:
    """A DATA frame."""
    return frame(DATA, flags, stream, data)


def _with(**changes: str | None) -> Headers:
    """The good headers with some replaced, or left out where the change is None. `_` stands for `:` and `-`."""
    named = {name.replace(":", "_").replace("-", "_"): (name, value) for name, value in GOOD}
    kept = [
        (name, value if change is None else change)
        for key, (name, value) in named.items()
        if (change := changes.get(key, value)) is not None
    ]
    return tuple(kept)


def _calls(of: Callable[[random.Random, int], bytes], amount: int = STREAMS) -> Callable[[random.Random], list[bytes]]:
    """A piece for each of many streams."""
    return lambda chance: [of(chance, 2 * number + 1) for number in range(amount)]


def _wrong_length(chance: random.Random, stream: int) -> bytes:
    told = chance.choice((0, 1, len(PROMPT) - 1, len(PROMPT) + 1, 1 << 20, (1 << 31) - 1, (1 << 32) - 1))
    return head(stream) + body(stream, b"\0" + WORD.pack(told) + PROMPT)


def _wrong_flag(chance: random.Random, stream: int) -> bytes:
    fields = (*GOOD, ("grpc-encoding", chance.choice(("gzip", "deflate", "snappy", ""))))
    sent = bytes([chance.choice((1, 2, 255))]) + message(PROMPT)[1:]
    return head(stream, fields=chance.choice((GOOD, fields))) + body(stream, sent)


def _wrong_headers(chance: random.Random, stream: int) -> bytes:
    wrong = (
        _with(content_type="text/html"),
        _with(content_type=None),
        _with(content_type="application/grpc+json"),
        _with(te=None),
        _with(te="gzip"),
        _with(_method="GET"),
        _with(_method=None),
        _with(_scheme="gopher"),
        _with(_path=None),
        (*GOOD, (":path", "/again")),
        (*GOOD, ("Upper-Case", "x")),
        (*GOOD, ("grpc-timeout", chance.choice(("0n", "-1S", "99999999999H", "soon", "")))),
        (*GOOD, ("trace-bin", "!!! no base64 !!!")),
        (*GOOD, ("connection", "close")),
    )
    return head(stream, fields=chance.choice(wrong)) + body(stream, message(PROMPT))


def _unknown_method(chance: random.Random, stream: int) -> bytes:
    paths = (f"{ROUTE}s", "/", "", "/router.v1.RouterService/", "//", "*", "/x" * 2000, f"/{chance.random()}/Route")
    return head(stream, fields=_with(_path=chance.choice(paths))) + body(stream, message(PROMPT))


def _raw_message(chance: random.Random, stream: int) -> bytes:
    return head(stream) + body(stream, chance.randbytes(chance.randint(0, 60)))


def _never_a_message(chance: random.Random, stream: int) -> bytes:
    return head(stream, fields=_with(_path=chance.choice((ROUTE, ROUTE_STREAM))))


def _half_a_message(_chance: random.Random, stream: int) -> bytes:
    return head(stream) + body(stream, message(PROMPT)[:-5], 0)


def _no_message_at_all(_chance: random.Random, stream: int) -> bytes:
    return head(stream, END_HEADERS | END_STREAM)


def _opened_and_reset(_chance: random.Random, stream: int) -> bytes:
    whole = head(stream) + body(stream, message(PROMPT))
    return whole + frame(RST_STREAM, 0, stream, WORD.pack(CANCEL))


def _many_headers(chance: random.Random) -> list[bytes]:
    block = b"".join(literal(*field) for field in GOOD)
    block += b"".join(literal(f"x-{number}", "v" * chance.randint(0, 40)) for number in range(3000))
    parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    return [
        frame(
            CONTINUATION if number else HEADERS,
            END_HEADERS | (0 if number else END_STREAM) if number == len(parts) - 1 else 0,
            1,
            part,
        )
        for number, part in enumerate(parts)
    ]


def _endless_continuation(_chance: random.Random) -> list[bytes]:
    piece = literal("x-more", "v" * 50)
    return [head(1, 0), *(frame(CONTINUATION, 0, 1, piece) for _ in range(199))]


def _empty_continuations(_chance: random.Random) -> list[bytes]:
    return [head(1, 0), *(frame(CONTINUATION, 0, 1) for _ in range(199))]


def _hpack_nonsense(chance: random.Random) -> list[bytes]:
    return [frame(HEADERS, END_HEADERS | END_STREAM, 1, chance.randbytes(chance.randint(1, 200)))]


def _wrong_frame(chance: random.Random) -> list[bytes]:
    """One that ends the connection, for all that the standard says."""
    alone = (
        frame(WINDOW_UPDATE, 0, 0, WORD.pack((1 << 31) - 1)) * 2,
        frame(WINDOW_UPDATE, 0, 0, WORD.pack(0)),
        frame(WINDOW_UPDATE, 0, 0, b"\0"),
        frame(SETTINGS, 0, 1),
        frame(SETTINGS, ACK, 0, bytes(6)),
        frame(SETTINGS, 0, 0, bytes(5)),
        settings((INITIAL_WINDOW, 1 << 31)),
        settings((MAX_FRAME, 1)),
        settings((TABLE_SIZE, (1 << 32) - 1)),
        frame(PING, 0, 0, bytes(7)),
        frame(PING, 0, 3, bytes(8)),
        frame(RST_STREAM, 0, 0, bytes(4)),
        frame(RST_STREAM, 0, 77, bytes(4)),
        frame(DATA, 0, 0, b"x"),
        frame(DATA, END_STREAM, 99, b"x"),
        frame(DATA, 8, 1, b"\xff"),
        frame(HEADERS, PRIORITY, 1, bytes(2)),
        head(2),
        head(0),
        head(5) + head(3),
        head(1) + head(1),
        head(1, 0) + body(1, b"x"),
        frame(CONTINUATION, END_HEADERS, 1, b"x"),
        frame(PUSH_PROMISE, END_HEADERS, 1, bytes(8)),
        frame(PRIORITY_FRAME, 0, 1, WORD.pack(1) + b"\0"),
        frame(GOAWAY, 0, 0, bytes(8) + MARK.encode()),
        frame(chance.randint(10, 255), 255, 3, chance.randbytes(30)),
        b"\xff\xff\xff" + bytes(6),
        chance.randbytes(60),
    )
    return [chance.choice(alone)]


def _closed_streams(chance: random.Random) -> list[bytes]:
    whole = _opened_and_reset(chance, 1)
    return [whole, *(body(1, b"late", 0) for _ in range(49))]


def _beyond_the_window(_chance: random.Random) -> list[bytes]:
    first = head(1, fields=_with(_path=ROUTE_STREAM)) + body(1, b"\0" + WORD.pack(7 << 20), 0)
    return [first, *(body(1, bytes(16_384), 0) for _ in range(24))]


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # how TLS begins
GARBAGE = (HELLO + bytes(500), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\n", PREFACE[:-1] + b"X" * 30)

ATTACKS = (
    Attack("wrong length of a message", _calls(_wrong_length), 15),
    Attack("wrong flag of compression", _calls(_wrong_flag), 15),
    Attack("wrong headers", _calls(_wrong_headers), 20),
    Attack("unknown methods", _calls(_unknown_method), 15),
    Attack("no message but noise", _calls(_raw_message), 15),
    Attack("a stream without message", _calls(_no_message_at_all), 3),
    Attack("streams that never send their message", _calls(_never_a_message), 5, "hold"),
    Attack("streams that send half of it and stop", _calls(_half_a_message), 5, "hold"),
    Attack("calls whose caller vanishes", _calls(lambda _, at: head(at) + body(at, message(PROMPT))), 10, "vanish"),
    Attack("rapid reset", _calls(_opened_and_reset, 300), 5),
    Attack("a flood of headers", _many_headers, 10),
    Attack("headers without end", _endless_continuation, 4),
    Attack("headers without end or content", _empty_continuations, 4),
    Attack("headers that are no HPACK", _hpack_nonsense, 60),
    Attack("frames that break a rule", _wrong_frame, 200),
    Attack("pings", lambda _: [frame(PING, 0, 0, bytes(8))] * 400, 2),
    Attack("settings", lambda _: [settings((INITIAL_WINDOW, 65535))] * 400, 2),
    Attack("data on closed streams", _closed_streams, 4),
    Attack("data beyond the window", _beyond_the_window, 4),
    *(Attack("garbage instead of a preface", lambda _: [b""], 10, greeting=garbage) for garbage in GARBAGE),
    *(Attack("half a preface", lambda _: [b""], 10, "hold", PREFACE[:cut]) for cut in (0, 1, 12, 23)),
    Attack("a preface and then nothing", lambda _: [b""], 10, "hold", PREFACE),
    Attack("connected and gone", lambda _: [b""], 100, "vanish", b""),
)


def performed(address: str, attack: Attack, chance: random.Random, held: list[Rude]) -> Iterator[int]:
    """Attacks; yields after each connection how many pieces it sent."""
    for _ in range(attack.connections):
        pieces = attack.pieces(chance)
        peer = Rude(address, attack.greeting)
        peer.send(b"".join(pieces))
        if attack.ending == "hold":
            held.append(peer)
        elif attack.ending == "vanish":
            peer.vanish()
        else:
            if attack.greeting.startswith(PREFACE):
                peer.settle()
            peer.socket.close()
        yield len(pieces)

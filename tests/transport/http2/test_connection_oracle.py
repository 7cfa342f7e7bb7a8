"""Whole connections beside python-hyper's `h2`: it must never see a fault, and every call must get exactly its replies."""

import random
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hypothesis
import hypothesis.strategies as st
import pytest

from sidecar.transport.http2 import connection
from sidecar.transport.http2.connection import CONNECTION_WINDOW
from sidecar.transport.http2.frames import FRAME_HEAD
from tests.transport.http2.memory import (
    COLD,
    STREAM,
    UNARY,
    WATCH,
    WATCHED,
    Line,
    Memory,
    closed,
    left_on,
    reply_to,
    wanted,
)

STEPS = 100
MOST_OPEN = 12
RESOURCE_EXHAUSTED = b"8"
CROWDED_SEEDS = 25
Settings = h2.settings.SettingCodes


def head(path: str, *extra: tuple[str, str]) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "sidecar"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]


class Asked:
    """A call of the client.

    Attributes:
        left: bytes that are still to be sent.
        expected: the replies, as they come in DATA.
        got: what came of them.
        trailers: of the answer; None before they came.
    """

    def __init__(self, path: str, messages: list[bytes]) -> None:
        self.left = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in messages)
        replies = [reply_to(each) for each in messages]
        if path == WATCH:
            replies *= WATCHED
        self.path = path
        self.expected = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in replies)
        self.got = bytearray()
        self.trailers: dict[bytes, bytes] | None = None
        self.ended = self.reset = False


class Client:
    """A well-behaved peer that does everything that it may, in any order."""

    def __init__(self, line: Line, chance: random.Random) -> None:
        self.line, self.chance = line, chance
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.h2.initiate_connection()
        self.calls: dict[int, Asked] = {}
        self.unread: dict[int, int] = {}
        self.pings = 0
        self.crowds = False
        self.settled = False  # h2 takes an acknowledgement for all settings that it sent

    def step(self) -> None:
        chance = self.chance
        steps = (
            self.call, self.call, self.send, self.send, self.send, self.read, self.read, self.abandon, self.change,
            self.ping, self.busy, self.exchange, self.exchange,
        )  # fmt: skip
        chance.choice(steps)()

    @property
    def open(self) -> list[int]:
        return [number for number, call in self.calls.items() if call.trailers is None and not call.reset]

    def call(self) -> None:
        chance = self.chance
        if len(self.open) >= MOST_OPEN:
            return
        if self.crowds and chance.random() < 0.7:
            self.burst()
            return
        path = chance.choice((UNARY, UNARY, UNARY, STREAM, STREAM, COLD, WATCH))
        sizes = (0, 1, 10, 1000, 1000, 20_000, 70_000)
        amount = chance.randint(0, 6) if path == STREAM else 1
        messages = [wanted(chance.choice(sizes), chance.randbytes(chance.choice(sizes))) for _ in range(amount)]
        extra = [("x-extra", "v" * chance.choice((1, 100, 20_000)))] if chance.random() < 0.3 else []
        if chance.random() < 0.3:
            extra.append(("grpc-timeout", f"{chance.randint(100, 10_000)}S"))
        call = Asked(path, messages)
        if path == UNARY and chance.random() < 0.2:
            extra.append(("content-length", str(len(call.left))))
        number = self.h2.get_next_available_stream_id()
        # h2 forgets the bytes of the priority where it cuts a block.
        priority: Any = {"priority_weight": chance.randint(1, 256)} if chance.random() < 0.2 and not extra else {}
        self.h2.send_headers(number, head(path, *extra), **priority)
        self.calls[number] = call

    def burst(self) -> None:
        """Sends whole calls with equal headers, one after the other."""
        for _ in range(self.chance.randint(1, 8)):
            call = Asked(UNARY, [wanted(10, self.chance.randbytes(10))])
            number = self.h2.get_next_available_stream_id()
            self.h2.send_headers(number, head(UNARY))
            self.calls[number] = call
            if self.h2.local_flow_control_window(number) < len(call.left):
                return
            self.h2.send_data(number, call.left, end_stream=True)
            call.left, call.ended = b"", True

    def send(self) -> None:
        """Sends a piece of some call, or its end."""
        unfinished = [number for number in self.open if not self.calls[number].ended]
        if not unfinished:
            return
        chance = self.chance
        number = chance.choice(unfinished)
        call = self.calls[number]
        most = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
        padding = chance.choice((None, None, 0, 7, 255))
        room = most - (padding or 0) - 1
        size = min(len(call.left), max(0, room), chance.choice((1, 5, 100, 20_000, 20_000)))
        whole = size == len(call.left) and (not size or chance.random() < 0.7)
        if room <= 0 and size == 0 and not whole:
            return
        if whole and not size and chance.random() < 0.5:
            self.h2.send_headers(number, [("x-trailer", "1")], end_stream=True)
        elif room >= size:
            self.h2.send_data(number, call.left[:size], end_stream=whole, pad_length=padding if most > 300 else None)
            call.left = call.left[size:]
        else:
            return
        call.ended = whole

    def read(self) -> None:
        """Takes note of what came, so that more may come."""
        for number, amount in list(self.unread.items()):
            some = self.chance.choice((1, amount, amount))
            self.h2.acknowledge_received_data(some, number)
            self.unread[number] -= some
            if not self.unread[number]:
                del self.unread[number]

    def abandon(self) -> None:
        if self.open and self.chance.random() < 0.2:
            number = self.chance.choice(self.open)
            self.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
            self.calls[number].reset = True

    def change(self) -> None:
        chance = self.chance
        if not self.settled:
            return
        self.settled = False
        changes = {
            Settings.INITIAL_WINDOW_SIZE: chance.choice((0, 1, 100, 65_535, 200_000)),
            Settings.MAX_FRAME_SIZE: chance.choice((16_384, 20_000, 1 << 20)),
            Settings.HEADER_TABLE_SIZE: chance.choice((0, 100, 4096, 8192)),
        }
        name = chance.choice(list(changes))
        self.h2.update_settings({name: changes[name]})

    def ping(self) -> None:
        if self.open and not self.pings:  # clients wait for the answer
            self.h2.ping(bytes(8))
            self.pings += 1

    def busy(self) -> None:
        self.line.memory.services.busy = self.chance.random() < 0.5
        self.line.memory.services.crowded = self.crowds and self.chance.random() < 0.8

    def exchange(self) -> None:
        """Has the network carry what was written, in pieces."""
        sent = self.h2.data_to_send()
        while sent:
            cut = self.chance.choice((1, 8, 9, 10, 100, len(sent), len(sent)))
            self.hear(self.line.send(sent[:cut]))
            sent = sent[cut:]
            assert not self.line.wire.closed, self.line.memory.server.notes.counts
        self.hear(self.line.send(b""))

    def hear(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            # Never two frames at once: h2 takes a larger one only in data that begins after the acknowledgement.
            end = at + FRAME_HEAD + int.from_bytes(data[at : at + 3], "big")
            cut = self.chance.randint(at, end)
            for piece in (data[at:cut], data[cut:end]):
                for event in self.h2.receive_data(piece):
                    self.take(event)
            at = end
        assert at == len(data)

    def take(self, event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.calls[event.stream_id].got += event.data
            self.unread[event.stream_id] = self.unread.get(event.stream_id, 0) + event.flow_controlled_length
            if not self.unread[event.stream_id]:
                del self.unread[event.stream_id]
        elif isinstance(event, h2.events.TrailersReceived):
            self.calls[event.stream_id].trailers = dict(event.headers)
        elif isinstance(event, h2.events.ResponseReceived):
            fields = dict(event.headers)
            assert fields[b":status"] == b"200"
            if event.stream_ended is not None:
                self.calls[event.stream_id].trailers = fields
        elif isinstance(event, h2.events.PingAckReceived):
            self.pings -= 1
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self.settled = True
        else:
            assert not isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)), event

    def finish(self) -> None:
        """Opens the windows, sends what is left, and waits for every answer."""
        self.line.memory.services.busy = False
        opened = False
        for _ in range(2000):
            self.exchange()
            if self.settled and not opened:
                opened = True
                self.h2.update_settings({Settings.INITIAL_WINDOW_SIZE: 1 << 20})
            self.read()
            self.exchange()
            if not self.open and not self.pings:
                return
            for number in self.open:
                call = self.calls[number]
                size = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(call.left))
                if not call.ended and (size or not call.left):
                    call.ended = size == len(call.left)
                    self.h2.send_data(number, call.left[:size], end_stream=call.ended)
                    call.left = call.left[size:]
        raise AssertionError(f"no answer on {self.open}, {self.pings} pings")


def run(memory: Memory, client: Client) -> None:
    """Has a client do all that it wants, and looks whether it got what it should."""
    line = client.line
    for _ in range(STEPS):
        client.step()
    client.finish()
    turned_away = 0
    for call in client.calls.values():
        if call.reset:
            assert call.expected.startswith(bytes(call.got))
            continue
        assert call.trailers is not None
        if call.path == WATCH and call.trailers[b"grpc-status"] == RESOURCE_EXHAUSTED:
            continue  # more watches than there may be
        if call.path == UNARY and call.trailers[b"grpc-status"] == RESOURCE_EXHAUSTED:
            turned_away += 1
            continue
        assert call.trailers[b"grpc-status"] == b"0"
        assert bytes(call.got) == call.expected
    assert turned_away <= memory.services.turned_away  # some may have been reset by then
    assert not memory.server.notes.counts
    ours = line.connection
    assert (ours.window, ours.pending) == (client.h2.inbound_flow_control_window, 0)
    assert ours.stream_window == client.h2.local_settings.initial_window_size
    assert ours._eaten == CONNECTION_WINDOW - client.h2.outbound_flow_control_window
    line.lose()
    assert left_on(line.connection) == {}
    assert memory.left_behind() == {}
    closed(memory.server)


@hypothesis.settings(max_examples=40, derandomize=True)
@hypothesis.given(seed=st.integers(0, 1 << 30))
def test_every_call_gets_its_replies_whatever_else_happens_on_the_connection(seed: int) -> None:
    memory = Memory(max_metadata_bytes=1 << 16)
    run(memory, Client(memory.line(), random.Random(seed)))
    assert not memory.services.turned_away


def test_where_much_waits_calls_get_their_replies_or_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKLOG_BYTES", 300)
    monkeypatch.setattr(connection, "FRESH_BYTES", 100)
    turned_away = 0
    for seed in range(CROWDED_SEEDS):
        memory = Memory(max_metadata_bytes=1 << 16)
        client = Client(memory.line(), random.Random(seed))
        client.crowds = True
        run(memory, client)
        turned_away += memory.services.turned_away
    assert turned_away > CROWDED_SEEDS


def recorded(seed: int) -> list[bytes]:
    """What a client sends over a connection, in pieces."""
    memory = Memory(max_metadata_bytes=1 << 16)
    line = memory.line()
    sent: list[bytes] = []
    send = line.send

    def send_and_keep(data: bytes) -> bytes:
        sent.append(data)
        return send(data)

    line.send = send_and_keep  # type: ignore[method-assign]
    client = Client(line, random.Random(seed))
    for _ in range(STEPS):
        client.step()
    client.finish()
    closed(memory.server)
    return [piece for piece in sent if piece]


def mutated(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    """The same with some bytes changed, left out or sent twice."""
    pieces = list(pieces)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(pieces))
        piece = bytearray(pieces[at])
        kind = chance.randrange(5)
        place = chance.randrange(len(piece))
        if kind == 0:
            piece[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            piece[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.getrandbits(8)))
        elif kind == 2:
            del piece[place : place + chance.randint(1, 20)]
        elif kind == 3:
            piece[place:place] = chance.randbytes(chance.randint(1, 20))
        else:
            pieces.insert(chance.randrange(len(pieces)), bytes(piece))
        if piece:
            pieces[at] = bytes(piece)
    return pieces


@pytest.mark.parametrize("seed", range(8))
def test_broken_bytes_raise_nothing_and_leave_nothing_behind(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(seed)
    pieces = recorded(seed)
    memory = Memory(max_metadata_bytes=1 << 16)
    for _ in range(60):
        line = memory.line()
        cut = chance.randint(1, len(pieces))
        for piece in mutated(pieces[:cut], chance):
            line.send(piece)
            if line.wire.closed and chance.random() < 0.5:
                break
        if chance.random() < 0.5:
            memory.wait(chance.choice((0.1, 15.0, 100.0)))
        memory.services.busy = False
        line.lose()
        assert left_on(line.connection) == {}
        assert memory.left_behind() == {}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    closed(memory.server)

"""The seeds of the fuzzer of connections and thousands of mutations with a fixed seed: without atheris, in every run."""

import logging
import random
from collections.abc import Iterator

import pytest

from benchmarks.http2 import PING, frame
from sidecar.transport.http2 import connection
from sidecar.transport.http2.connection import Connection
from sidecar.transport.http2.sender import Sender
from tests.fuzz.connection_seeds import seeds
from tests.fuzz.connection_target import (
    BACKLOG,
    BUSY,
    MOST_PIECE,
    SEND,
    WAIT,
    ConnectionTarget,
    Step,
    check,
    framed,
    steps_of,
)
from tests.fuzz.replay import recorded
from tests.fuzz.target import Broken
from tests.transport.http2.peers import body, call

MUTATIONS = 4000


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectionTarget]:
    for name, amount in zip(("BACKLOG_BYTES", "FRESH_BYTES"), BACKLOG, strict=True):
        monkeypatch.setattr(connection, name, amount)
    made = ConnectionTarget()
    yield made
    logging.getLogger("sidecar").removeHandler(made._log)


def test_every_seed_and_what_was_once_found_holds(target: ConnectionTarget) -> None:
    for data in [*seeds(), *recorded("connection").values()]:
        target(data)
    assert target._memory.services.turned_away


def test_mutations_hold(target: ConnectionTarget) -> None:
    chance = random.Random(2026)
    known = [data for data in seeds() if data]
    for _ in range(MUTATIONS):
        data = bytearray(chance.choice(known) + chance.choice(known)[1:])
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.getrandbits(8)
        target(bytes(data))


def test_an_input_is_its_steps() -> None:
    steps = [Step(SEND, b"abc"), Step(WAIT, b"\0"), Step(BUSY, b"\0"), Step(SEND, bytes(MOST_PIECE))]
    assert list(steps_of(framed(steps))) == steps
    assert list(steps_of(framed(steps)[:-1]))[-1] == Step(SEND, bytes(MOST_PIECE - 1))


def test_a_fault_is_noticed(target: ConnectionTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(Connection, "ping", stumble)
    with pytest.raises(Broken, match="logged"):
        target(framed([Step(SEND, frame(PING, 0, 0, bytes(8)))]))


def test_what_is_left_behind_is_noticed(target: ConnectionTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "_leave_streams", lambda _self: None)
    with pytest.raises(Broken, match="left behind"):
        target(framed([Step(BUSY, b"\1"), Step(SEND, call(1, b"")), Step(SEND, b"")]))


def test_a_frame_after_the_end_of_its_stream_is_noticed(
    target: ConnectionTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = Sender.flush

    def twice(self: Sender) -> None:
        self.out += self.out
        flush(self)

    monkeypatch.setattr(Sender, "flush", twice)
    with pytest.raises(Broken, match="after the end of stream 1"):
        target(framed([Step(SEND, call(1, b""))]))


def test_an_answer_that_is_cut_off_or_has_no_head_is_noticed() -> None:
    with pytest.raises(Broken, match="cut off"):
        check(body(1, b"x")[:-1], whole=True)
    with pytest.raises(Broken, match="before the headers"):
        check(body(1, b"x"), whole=True)
    check(b"HTTP/1.1 505", whole=False)

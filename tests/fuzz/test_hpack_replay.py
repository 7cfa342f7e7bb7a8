"""The seeds of the fuzzer of header blocks and thousands of mutations with a fixed seed: without atheris, in every run."""

import random

import pytest

from sidecar.transport.http2.hpack import Decoder
from tests.fuzz.hpack_seeds import seeds
from tests.fuzz.hpack_target import blocks_of, framed, run
from tests.fuzz.replay import recorded
from tests.fuzz.target import Broken

MUTATIONS = 5000


def test_every_seed_and_what_was_once_found_is_read_alike() -> None:
    for data in [*seeds(), *recorded("hpack").values()]:
        run(data)


def test_mutations_are_read_alike() -> None:
    chance = random.Random(2026)
    for _ in range(MUTATIONS):
        data = bytearray(chance.choice(seeds()) or b"\1\x82")
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.getrandbits(8)
        run(bytes(data))


def test_an_input_is_its_blocks() -> None:
    blocks = [b"", b"a", bytes(255), b"bc"]
    assert list(blocks_of(framed(blocks))) == blocks
    assert list(blocks_of(framed(blocks)[:-1])) == [*blocks[:-1], b"b"]


def test_another_reading_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "decode", lambda _self, _block: [])
    with pytest.raises(Broken, match="as by the oracle"):
        run(framed([b"\x82"]))


def test_an_error_that_none_expects_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(_self: Decoder, _block: bytes) -> None:
        raise KeyError

    monkeypatch.setattr(Decoder, "decode", stumble)
    with pytest.raises(KeyError):
        run(framed([b"\x82"]))

"""The fuzzer's seeds, what it found, and thousands of mutations with a fixed seed: without atheris, in every run."""

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from sidecar.batching import Caller
from sidecar.errors import InvalidRequest
from sidecar.lanes import results
from sidecar.lanes.intake import Intake
from sidecar.lanes.lane import Deliver
from sidecar.lanes.reply import Replies
from sidecar.wire import router_pb2 as pb
from tests.fuzz.mutate import mutated
from tests.fuzz.replay import recorded
from tests.fuzz.seeds import PLAIN, seeds
from tests.fuzz.target import EXPIRED, GONE, MARK, Broken, Target, encoded

MUTATIONS = 5000
FOUND = recorded()


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with closing(Target()) as target:
        yield target


def flipped(data: bytes, chance: random.Random) -> bytes:
    """The raw change that libFuzzer makes when it is there."""
    changed = bytearray(data or b"\0")
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.getrandbits(8)
    return bytes(changed[: chance.randint(1, len(changed))] if chance.random() < 0.2 else changed)


def test_every_seed_keeps_the_promises(target: Target) -> None:
    for data in seeds():
        target(data)


@pytest.mark.parametrize("name", FOUND)
def test_what_was_once_found_stays_mended(target: Target, name: str) -> None:
    target(FOUND[name])


def test_mutations_keep_the_promises(target: Target) -> None:
    chance = random.Random(2026)
    inputs = seeds()
    for _ in range(MUTATIONS):
        data = mutated(chance.choice(inputs), 1 << 16, chance, lambda raw, _most: flipped(raw, chance))
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{data!r}: {error}") from error
        inputs.append(data)


@pytest.mark.parametrize("caller", [EXPIRED, GONE, EXPIRED | GONE])
def test_every_seed_keeps_the_promises_to_callers_who_no_longer_wait(target: Target, caller: int) -> None:
    for data in seeds():
        target(bytes([data[0] | caller]) + data[1:])


def test_mutations_stay_messages_and_differ() -> None:
    chance = random.Random(1)
    whole = encoded(pb.RouteRequest(text=PLAIN))
    made = [mutated(whole, 1 << 16, chance, lambda raw, _most: raw) for _ in range(200)]
    assert len(set(made)) > 100
    for data in made:
        pb.RouteRequest.FromString(data[1:])


# --- Each promise can be seen to be broken. --------------------------------------------------------------------------


@pytest.fixture
def fresh() -> Iterator[Target]:
    with closing(Target()) as target:
        yield target


def broken(target: Target, message: pb.RouteRequest | pb.RouteBatchRequest | pb.RouteStreamRequest) -> str:
    with pytest.raises(Broken) as caught:
        target(encoded(message))
    return str(caught.value)


SOUND = pb.RouteRequest(text=PLAIN)


def test_a_second_delivery_is_noticed(fresh: Target) -> None:
    take = fresh._takes[pb.RouteRequest]

    def twice(raw: bytes, deliver: Deliver, key: Any, caller: Caller) -> None:
        deliver(key, b"")
        take(raw, deliver, key, caller)

    fresh._takes[pb.RouteRequest] = twice
    assert "2 deliveries" in broken(fresh, SOUND)


def test_a_call_without_delivery_is_noticed(fresh: Target) -> None:
    fresh._takes[pb.RouteRequest] = lambda _raw, _deliver, _key, _caller: None
    assert "0 deliveries" in broken(fresh, SOUND)


def test_an_exception_of_the_intake_is_noticed(fresh: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: Any) -> None:
        raise ValueError("stumbled")

    monkeypatch.setattr(Intake, "__call__", stumble)
    assert "could not be read: ValueError" in broken(fresh, SOUND)
    assert "could not be read: ValueError" in broken(fresh, pb.RouteBatchRequest(requests=[SOUND]))


def test_an_error_that_repeats_the_prompt_is_noticed(fresh: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def repeat(_intake: Any, request: pb.RouteRequest, _arrived: float) -> None:
        raise InvalidRequest(f"wrong: {request.text}")

    monkeypatch.setattr(Intake, "__call__", repeat)
    assert MARK in broken(fresh, pb.RouteRequest(text="no mark of its own"))
    assert MARK in broken(fresh, pb.RouteStreamRequest(request=SOUND))


def test_an_error_that_goes_on_and_on_is_noticed(fresh: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def ramble(*_: Any) -> None:
        raise InvalidRequest("x" * 2000)

    monkeypatch.setattr(Intake, "__call__", ramble)
    assert "2000 characters" in broken(fresh, SOUND)


def test_a_reply_that_is_none_is_noticed(fresh: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replies, "encode", lambda _self, decided: iter([b"\xff\xff"] * len(decided.asks)))
    assert "is no RouteResponse" in broken(fresh, SOUND)


def test_a_lost_result_of_a_batch_is_noticed(fresh: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "delimited", lambda *_: b"")
    assert "0 results for 1" in broken(fresh, pb.RouteBatchRequest(requests=[SOUND]))


def test_work_out_of_proportion_is_noticed(fresh: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.target.MOST_SECONDS", -1.0)
    assert "of the processor" in broken(fresh, SOUND)

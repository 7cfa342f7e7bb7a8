"""Services over an encoder: the test is the transport's thread, and says when the device is done."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.bundle.load import Bundle, load
from sidecar.lanes.canary import Canary
from sidecar.settings import CacheConfig
from sidecar.wire import router_pb2 as pb
from tests.lanes.engines import Bench, of_version
from tests.standin import PATIENCE_S, Devices, StandIn, until

EVERY = CacheConfig(max_bytes=0)  # every request gets to the device, also one whose text came before


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Devices]:
    """All are let go in the end, so that no thread waits for ever."""
    installed = Devices(monkeypatch)
    yield installed
    for device in installed.opened:
        device.blocked.set()


@pytest.fixture
def encoder(encoder_bundle: Path, devices: Devices) -> Bundle:
    return load(encoder_bundle, provider="auto")


@pytest.fixture
def static(tiny_bundle: Path) -> Bundle:
    return load(tiny_bundle)


def held(devices: Devices) -> StandIn:
    device = devices.last
    device.blocked.clear()
    device.entered.clear()
    return device


def flush(bench: Bench, *keys: str) -> None:
    """Flushes until these are answered."""

    def answered() -> bool:
        bench.services.flush()
        return all(key in bench.replies for key in keys)

    until(answered)


def test_the_lane_is_free_while_the_device_runs_and_takes_in_the_next_batch(encoder: Bundle, devices: Devices) -> None:
    bench = Bench(encoder, cache=EVERY)
    device = held(devices)
    bench.take("first")
    bench.services.flush()
    assert device.entered.wait(PATIENCE_S)
    bench.take("second", "prove the theorem")
    bench.services.flush()
    assert (len(bench.services.batcher), bench.replies) == (2, {})
    assert not bench.services.batcher.ready
    device.blocked.set()
    flush(bench, "first", "second")
    tally = bench.services.engine.tally
    assert (tally.decisions, tally.degraded, tally.batches) == (2, 0, 2)
    assert bench.version("first") == "encoder"


def test_a_device_that_hangs_shows_as_being_stuck(encoder: Bundle, devices: Devices) -> None:
    bench = Bench(encoder, cache=EVERY)
    device = held(devices)
    assert bench.services.busy_since is None
    bench.take("first")
    bench.services.flush()
    assert bench.services.busy_since is not None
    device.blocked.set()
    flush(bench, "first")
    assert bench.services.busy_since is None


def test_a_switch_waits_for_what_is_under_way_and_no_request_is_scored_by_two(
    encoder: Bundle, static: Bundle, devices: Devices
) -> None:
    bench = Bench(encoder, cache=EVERY)
    device = held(devices)
    bench.take("old")
    bench.services.flush()
    assert device.entered.wait(PATIENCE_S)
    answered = bench.ask_to_switch(bench.engine(of_version(static, "next")))
    until(lambda: bench.services._switch is not None)
    bench.services.flush()
    bench.take("new")
    bench.services.flush()
    assert bench.version("new") == "next"  # taken over; only the old request is still to come
    assert answered(0.01) is None
    device.blocked.set()
    flush(bench, "old")
    until(lambda: bench.services.flush() or answered(0.001))  # type: ignore[func-returns-value]
    assert bench.version("old") == "encoder"
    assert bench.services.decisions()["tiny encoder"].decisions == 1


def test_from_static_to_encoder_and_back(encoder: Bundle, static: Bundle) -> None:
    bench = Bench(static, cache=EVERY)
    assert bench.services.batcher.ahead is None
    assert bench.route() == "1"
    bench.switch(bench.engine(encoder))
    assert bench.services.batcher.ahead is not None
    bench.take("a")
    flush(bench, "a")
    assert bench.version("a") == "encoder"
    bench.switch(bench.engine(static))
    assert bench.services.batcher.ahead is None
    assert bench.route() == "1"


def test_a_canary_and_the_stable_bundle_share_a_batch_each_answering_its_own(encoder: Bundle, static: Bundle) -> None:
    bench = Bench(static, cache=EVERY)
    bench.services.canary = Canary(bench.engine(encoder), 0.5)
    bench.services._pace_batches()
    keys = [str(number) for number in range(40)]
    for key in keys:
        bench.take(key, session_id=key)
    flush(bench, *keys)
    versions = {key: bench.version(key) for key in keys}
    assert set(versions.values()) == {"1", "encoder"}
    for key, version in versions.items():
        bench.take("again", session_id=key)
        bench.replies.pop("again", None)
        flush(bench, "again")
        assert bench.version("again") == version


def test_a_text_that_cannot_be_scored_degrades_nobody_else(encoder: Bundle) -> None:
    bench = Bench(encoder, cache=EVERY)
    for key, text in (("a", "rice"), ("b", "poison"), ("c", "prove the theorem")):
        bench.take(key, text)
    flush(bench, "a", "b", "c")
    reasons = {key: list(pb.RouteResponse.FromString(bench.replies[key]).reasons) for key in "abc"}  # type: ignore[arg-type]
    degraded = {key for key, found in reasons.items() if pb.REASON_DEGRADED in found}
    assert degraded == {"b"}
    totals = bench.coverage.totals()[""]
    assert (totals.scored, totals.unscored) == (2, 1)


def test_a_batch_that_cannot_even_be_begun_is_answered(encoder: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(encoder, cache=EVERY)

    def begin(_texts: object) -> None:
        raise ValueError("secret prompt")

    monkeypatch.setattr(encoder.scorer, "begin", begin)
    bench.take("a")
    flush(bench, "a")
    assert bench.version("a") == "encoder"  # scored in one phase


def test_a_device_that_fails_costs_no_answer_and_is_told(encoder: Bundle, devices: Devices) -> None:
    bench = Bench(encoder, cache=EVERY)
    devices.broken = devices.last.failing = True
    keys = [str(number) for number in range(10)]
    for key in keys:
        bench.take(key)
    flush(bench, *keys)
    assert {bench.version(key) for key in keys} == {"encoder"}
    assert bench.services.engine.tally.degraded == 0
    assert bench.services.engine.fault == ""  # scoring works
    assert "DeviceFault" in encoder.placement.fault


def test_waiting_for_the_device_counts_as_waiting_and_not_as_deciding(encoder: Bundle, devices: Devices) -> None:
    bench = Bench(encoder, cache=EVERY)
    device = held(devices)
    bench.take("first")
    bench.services.flush()
    assert device.entered.wait(PATIENCE_S)
    bench.take("second")
    bench.services.flush()
    began = time.perf_counter()
    until(lambda: time.perf_counter() - began > 0.05)
    device.blocked.set()
    flush(bench, "first", "second")
    timings = pb.RouteResponse.FromString(bench.replies["second"]).timings  # type: ignore[arg-type]
    assert timings.queue_us > 40_000
    assert timings.decide_us < 40_000

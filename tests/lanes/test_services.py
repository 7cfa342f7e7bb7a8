import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.bundle.load import Bundle, load
from sidecar.errors import Expired
from sidecar.lanes.canary import Canary
from sidecar.lanes.services import CROWDED_S, ROUTE, ROUTE_BATCH, ROUTE_STREAM
from sidecar.wire import router_pb2 as pb
from tests.conftest import POISON
from tests.lanes.engines import FOREVER_S, PATIENT, Bench, of_version


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load(tiny_bundle)


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def bench(bundle: Bundle) -> Bench:
    return Bench(bundle)


def test_a_switch_waits_for_the_end_of_a_batch(bench: Bench, bundle: Bundle) -> None:
    bench.take("before")
    answered = bench.ask_to_switch(bench.engine(of_version(bundle, "2")))
    assert answered(0.05) is None
    bench.services.flush()
    assert answered(FOREVER_S) is True
    assert bench.version("before") == "1"
    assert bench.route() == "2"


def test_what_an_engine_took_in_it_answers_and_only_then_the_switch_is_done(bundle: Bundle) -> None:
    bench = Bench(bundle, max_score_batch=1)
    for key in range(3):
        bench.take(key)
    answered = bench.ask_to_switch(bench.engine(of_version(bundle, "2")))
    while bench.services.engine.version == "tiny 1":
        bench.services.flush()  # the new one has taken over; jobs of the old one still wait
    assert len(bench.services.batcher) > 0
    assert answered(0.05) is None
    bench.take("after")
    while bench.services.batcher:
        bench.services.flush()
    assert answered(FOREVER_S) is True
    assert [bench.version(key) for key in range(3)] == ["1"] * 3
    assert bench.version("after") == "2"


def test_a_batch_of_two_engines_is_answered_by_both_each_its_own(bench: Bench, bundle: Bundle) -> None:
    canary = Canary(bench.engine(of_version(bundle, "2")), 0.5)
    bench.switch(bench.services.engine, canary)
    for number in range(30):
        bench.take(number, session_id=str(number))
    bench.services.flush()
    for number in range(30):
        request = pb.RouteRequest(text="what is the capital", session_id=str(number))
        picked = canary.pick(request, bench.services.engine)
        assert bench.version(number) == picked.version.removeprefix("tiny ")
    assert {bench.version(number) for number in range(30)} == {"1", "2"}


def test_the_items_of_one_routebatch_and_of_one_stream_follow_the_switch_too(bench: Bench, bundle: Bundle) -> None:
    item = pb.RouteRequest(text="what is the capital")
    raw = pb.RouteBatchRequest(requests=[item] * 3).SerializeToString()
    bench.services.unary[ROUTE_BATCH].take(raw, bench.replies.__setitem__, "batch", PATIENT)
    message = pb.RouteStreamRequest(sequence=7, request=item).SerializeToString()
    bench.services.streams[ROUTE_STREAM].take(message, bench.replies.__setitem__, "stream", PATIENT)
    bench.switch(bench.engine(of_version(bundle, "2")))
    batch, stream = bench.replies["batch"], bench.replies["stream"]
    assert isinstance(batch, bytes)
    assert isinstance(stream, bytes)
    assert [row.response.bundle_version for row in pb.RouteBatchResponse.FromString(batch).results] == ["1"] * 3
    assert pb.RouteStreamResponse.FromString(stream).result.response.bundle_version == "1"
    assert bench.route() == "2"


def test_a_switch_that_the_lane_does_not_get_to_changes_nothing(bench: Bench, bundle: Bundle) -> None:
    before = bench.services.engine
    assert bench.ask_to_switch(bench.engine(of_version(bundle, "2")), None, patience_s=0.01)(FOREVER_S) is False
    for _ in range(3):
        assert bench.route() == "1"
    assert bench.services.engine is before
    bench.switch(bench.engine(of_version(bundle, "3")))
    assert bench.route() == "3"


def test_a_switch_to_what_runs_is_taken_back_as_well(bench: Bench) -> None:
    same = bench.services.engine
    assert bench.ask_to_switch(same, None, patience_s=0.01)(FOREVER_S) is False
    assert bench.services._switch is None


def test_a_switch_that_is_stuck_behind_an_old_request_is_not_called_done(bundle: Bundle) -> None:
    bench = Bench(bundle, max_score_batch=1)
    for key in range(3):
        bench.take(key)
    answered = bench.ask_to_switch(bench.engine(of_version(bundle, "2")), None, patience_s=0.2)
    while bench.services.engine.version == "tiny 1":
        bench.services.flush()
    assert answered(FOREVER_S) is False


@pytest.mark.slow
def test_a_switch_is_either_done_or_changes_nothing_however_the_threads_meet(bench: Bench, bundle: Bundle) -> None:
    engines = [bench.engine(of_version(bundle, version)) for version in "12"]
    stop = threading.Event()
    broken: list[BaseException] = []

    def transport() -> None:
        try:
            while not stop.is_set():
                bench.services.flush()
        except BaseException as error:  # noqa: BLE001 - whatever it is
            broken.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=transport)
    thread.start()
    try:
        done = 0
        for number in range(3000):
            wanted, before = engines[number % 2], bench.services.engine
            if bench.services.switch(wanted, None, 1e-5 * (number % 7)):
                done += 1
                assert bench.services.engine is wanted
            else:
                assert bench.services.engine is before
    finally:
        stop.set()
        thread.join(FOREVER_S)
        sys.setswitchinterval(interval)
    assert broken == []
    assert done > 0


def test_an_engine_whose_turn_is_over_is_gone_at_once_with_its_bundle(
    bench: Bench, bundle: Bundle, no_gc: None
) -> None:
    mine = of_version(bundle, "mine")
    engine = bench.engine(mine)
    bench.switch(engine)
    assert bench.route() == "mine"
    bench.route(POISON)  # with a fault and its end, too
    bench.route()
    seen: list[weakref.ref[object]] = [weakref.ref(engine), weakref.ref(engine._router), weakref.ref(engine._replies)]
    bench.switch(bench.engine(of_version(bundle, "2")))
    del engine
    assert [reference() for reference in seen] == [None] * 3
    assert sys.getrefcount(mine) == 2


def test_health_hears_of_the_running_engine_only(bench: Bench, bundle: Bundle) -> None:
    broken = bench.engine(of_version(bundle, "2"))
    bench.switch(bench.services.engine, Canary(broken, 0.999999))
    bench.take("poisoned", POISON, session_id="s")
    bench.services.flush()
    assert broken.fault
    assert bench.faults == []
    bench.switch(broken)
    assert bench.faults == [broken.fault]
    bench.route()
    assert bench.faults[-1] == ""


class _Late:
    """A call whose deadline passed before its turn; it is its own connection."""

    held, paused, gone, since, expires = 0, False, False, 0.0, 0.0
    raw = pb.RouteRequest(text="what is the capital").SerializeToString()

    def __init__(self, bench: Bench) -> None:
        self.method = bench.services.unary[ROUTE]
        self.origin = self
        self.told: object = None

    def reply(self, encoded: object) -> None:
        self.told = encoded


def test_it_is_crowded_for_a_moment_after_all_that_waited_was_dropped(bench: Bench) -> None:
    now = 1000.0
    services: Any = bench.services
    services._clock = lambda: now
    late = [_Late(bench) for _ in range(2 * bench.config.max_score_batch)]
    for call in late:
        services.offer(call)
    assert not services.crowded
    services.flush()
    assert {type(call.told) for call in late} == {Expired}
    assert len(services.admission) == 0
    assert services.crowded
    now += CROWDED_S
    assert not services.crowded

import time
from pathlib import Path

import pytest

from sidecar.bundle.load import Bundle, load
from sidecar.config import CandidateConfig, GateConfig
from sidecar.coverage import Covered
from sidecar.lanes.engine import Engine
from sidecar.wire import router_pb2 as pb
from tests.conftest import POISON
from tests.lanes.engines import Bench


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load(tiny_bundle)


@pytest.fixture
def bench(bundle: Bundle) -> Bench:
    return Bench(bundle)


def reply_of(encoded: object) -> pb.RouteResponse:
    assert isinstance(encoded, bytes)
    return pb.RouteResponse.FromString(encoded)


def test_it_is_named_for_its_bundle(bench: Bench, bundle: Bundle) -> None:
    engine = bench.services.engine
    assert (engine.version, engine.digest, engine.fault) == ("tiny 1", bundle.manifest_sha256, "")


def test_without_a_bundle_it_answers_degraded_and_says_why() -> None:
    bench = Bench(None, candidates=(CandidateConfig(name="a"), CandidateConfig(name="b")), safe_candidate="b")
    broken = bench.engine(None, "no bundle")
    reply = reply_of(broken.answer([broken.intake(pb.RouteRequest(text="rice"), time.perf_counter())])[0])
    assert (reply.model, list(reply.reasons), reply.bundle_name) == ("b", [pb.REASON_DEGRADED], "")
    assert (broken.version, broken.digest, broken.fault) == ("", "", "no bundle")


def test_it_counts_what_was_scored_and_what_was_not_by_segment(bench: Bench) -> None:
    bench.route(segment="a")
    bench.route(segment="a")
    bench.route(POISON, segment="b")
    assert bench.coverage.totals() == {"a": Covered(2, 0), "b": Covered(0, 1)}


def test_one_poisoned_request_leaves_its_batch_scored(bench: Bench) -> None:
    for key, text in enumerate(("rice", POISON, "capital")):
        bench.take(key, text)
    bench.services.flush()
    assert [bench.version(key) for key in range(3)] == ["1", "", "1"]
    assert bench.coverage.totals()[""] == Covered(2, 1)


def test_a_request_that_is_turned_away_counts_as_not_scored(bench: Bench) -> None:
    engine = bench.services.engine
    ask = engine.intake(pb.RouteRequest(text="rice", segment="s"), time.perf_counter())
    reply = reply_of(engine.degrade(ask))
    assert (list(reply.reasons), reply.bundle_version) == ([pb.REASON_DEGRADED], "")
    assert bench.coverage.totals() == {"s": Covered(0, 1)}
    assert (engine.tally.decisions, engine.tally.degraded) == (1, 1)


def test_it_keeps_the_latest_requests_for_the_next_comparison(bundle: Bundle) -> None:
    size = 5
    bench = Bench(bundle, gate=GateConfig(sample=size))
    for number in range(size + 3):
        bench.route(f"rice {number}")
    kept = [ask.text for ask in bench.services.engine.recent]
    assert kept == [f"rice {number}" for number in range(3, size + 3)]


def test_its_fault_begins_and_ends_with_a_word_to_whoever_listens(bench: Bench) -> None:
    bench.route(POISON)
    bench.route(POISON)
    bench.route()
    assert [bool(fault) for fault in bench.faults] == [True, False]


def test_a_dead_engine_reports_no_fault(bench: Bench, bundle: Bundle) -> None:
    engine: Engine | None = bench.engine(bundle)
    assert engine is not None
    router = engine._router
    engine = None
    router.on_fault("too late")
    assert bench.faults == []

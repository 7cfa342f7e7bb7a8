import time
from pathlib import Path
from typing import Any

import pytest

from sidecar.bundle.load import Bundle, load
from sidecar.config import CandidateConfig
from sidecar.coverage import Covered
from sidecar.lanes.engine import Engine
from sidecar.routing.decision import Choice
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.router import Decided
from sidecar.settings import CacheConfig, GateConfig
from sidecar.wire import router_pb2 as pb
from tests.conftest import HARD, POISON
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


# --- the score cache -------------------------------------------------------------------------------------------------


def answered(bench: Bench, text: str = HARD, **fields: Any) -> pb.RouteResponse:
    bench.take("now", text, **fields)
    bench.services.flush()
    return reply_of(bench.replies["now"])


def test_policy_and_constraints_are_applied_afresh_to_cached_scores(bench: Bench) -> None:
    dear = answered(bench, policy=pb.Policy(answer_value_usd=1.0))
    cheap = answered(bench, policy=pb.Policy(answer_value_usd=1e-5))
    denied = answered(bench, policy=pb.Policy(answer_value_usd=1.0), constraints=pb.Constraints(deny=["large"]))
    assert [reply.model for reply in (dear, cheap, denied)] == ["large", "small", "medium"]
    assert [reply.timings.cached for reply in (dear, cheap, denied)] == [False, True, True]
    assert pb.REASON_CONSTRAINT in denied.reasons
    quality = [{row.candidate: row.quality for row in reply.ranking} for reply in (dear, cheap)]
    assert quality[0] == quality[1]
    assert dear.novelty == cheap.novelty == denied.novelty
    assert bench.services.engine.tally.batches == 1


def test_without_a_cache_nothing_is_looked_up_or_marked(bundle: Bundle) -> None:
    bench = Bench(bundle, cache=CacheConfig(max_bytes=0))
    assert not any(answered(bench).timings.cached for _ in range(3))
    assert bench.services.cache() == (0, 0, 0, 0)
    assert bench.services.engine.tally.batches == 3
    assert bench.services.engine._router._score is bundle.scorer  # the scorer itself: nothing stands in between


def test_a_degraded_answer_is_not_cached_and_does_not_count_as_a_lookup(bench: Bench) -> None:
    for _ in range(2):
        reply = answered(bench, POISON)
        assert (list(reply.reasons), reply.timings.cached) == ([pb.REASON_DEGRADED], False)
    for number, text in enumerate(("rice", POISON, "capital")):
        bench.take(number, text)
    bench.services.flush()
    assert [reply_of(bench.replies[number]).timings.cached for number in range(3)] == [False] * 3
    assert bench.services.cache()[:2] == (0, 2)
    assert answered(bench, "rice").timings.cached


def test_cached_scores_are_no_sign_that_the_model_works_again(bench: Bench) -> None:
    answered(bench, "rice")
    answered(bench, POISON)
    for _ in range(3):
        assert answered(bench, "rice").timings.cached
        answered(bench, POISON)
    assert [bool(fault) for fault in bench.faults] == [True]
    assert bench.services.engine.fault
    answered(bench, "capital")
    assert [bool(fault) for fault in bench.faults] == [True, False]


def test_duplicates_in_one_batch_are_scored_once_and_marked(bench: Bench) -> None:
    for number in range(5):
        bench.take(number, "rice" if number % 2 else "capital")
    bench.services.flush()
    replies = [reply_of(bench.replies[number]) for number in range(5)]
    assert [reply.timings.cached for reply in replies] == [False, False, True, True, True]
    assert {reply.timings.batch_size for reply in replies} == {5}
    assert bench.services.cache()[:2] == (3, 2)


def test_windows_that_the_recipe_makes_alike_share_their_scores(bench: Bench) -> None:
    assert not answered(bench, "cook   RICE").timings.cached
    assert answered(bench, "cook rice", segment="another", session_id="s").timings.cached


def test_the_gate_and_golden_vectors_score_beside_the_cache(bench: Bench, bundle: Bundle) -> None:
    answered(bench, "rice")
    counts = bench.services.cache()
    assert bundle.scorer(["rice"]).cached == ()
    assert bench.services.cache() == counts


def test_what_is_recorded_holds_the_whole_ranking_however_short_the_replys(bench: Bench, bundle: Bundle) -> None:
    kept: list[Decided] = []
    engine = Engine(
        bench.config,
        bundle,
        "",
        ids=DecisionIds(time.time),
        coverage=bench.coverage,
        clock=time.perf_counter,
        record=lambda _engine, decided: kept.append(decided),
    )
    ask = engine.intake(pb.RouteRequest(text="rice", ranking_limit=1), time.perf_counter())
    reply = reply_of(engine.answer([ask])[0])
    assert len(reply.ranking) == 1
    (choice,) = kept[0].outcomes
    assert isinstance(choice, Choice)
    assert len(choice.ranking) == len(engine.table)
    assert engine.table.names[choice.ranking[0]] == reply.ranking[0].candidate

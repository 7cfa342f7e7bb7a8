"""More than can be answered in time: bounded, told, and counted; on both lanes, over real connections."""

import threading
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from sidecar.settings import CoverageConfig, OverloadConfig
from sidecar.wire import router_pb2 as pb
from tests.lanes.asking import NOT_SERVING, PLAIN, SERVING, health_of
from tests.lanes.conftest import Running, Start

ITEMS = 10
# One item in a batch, three that wait: of ten that come at once, three are scored.
NARROW: dict[str, Any] = {"max_score_batch": 1}
SCORED = 3


def ten(segment: str = "") -> pb.RouteBatchRequest:
    return pb.RouteBatchRequest(requests=[pb.RouteRequest(text=PLAIN, segment=segment)] * ITEMS)


def kinds(reply: pb.RouteBatchResponse) -> list[str]:
    return [
        "error" if one.HasField("error") else "degraded" if pb.REASON_DEGRADED in one.response.reasons else "scored"
        for one in reply.results
    ]


@pytest.fixture
def degrading(start: Start, transport: str) -> Running:
    return start(transport, **NARROW, overload=OverloadConfig(max_waiting=SCORED))


def test_what_is_over_the_bound_gets_the_safe_candidate_at_once(degrading: Running) -> None:
    reply = degrading.stub.RouteBatch(ten(), timeout=10)
    assert kinds(reply).count("scored") == SCORED
    assert kinds(reply).count("degraded") == ITEMS - SCORED
    degraded = [one.response for one in reply.results if pb.REASON_DEGRADED in one.response.reasons]
    assert {one.model for one in degraded} == {"large"}
    assert {one.bundle_version for one in degraded} == {""}
    counters = degrading.stub.Info(pb.InfoRequest(), timeout=10).counters
    assert (counters.decisions, counters.degraded, counters.shed) == (ITEMS, ITEMS - SCORED, ITEMS - SCORED)
    assert health_of(degrading, "scoring") == SERVING  # the model is well


def test_or_it_is_refused_with_the_time_after_which_to_try_again(start: Start, transport: str) -> None:
    running = start(transport, **NARROW, overload=OverloadConfig(action="reject", max_waiting=SCORED))
    reply = running.stub.RouteBatch(ten(), timeout=10)
    assert kinds(reply).count("scored") == SCORED
    refused = [one.error for one in reply.results if one.HasField("error")]
    assert {error.code for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
    assert all("overload" in error.message and "try again" in error.message for error in refused)
    assert PLAIN not in "".join(error.message for error in refused)


def test_a_refusal_that_trying_again_cannot_mend_says_so(start: Start, transport: str) -> None:
    running = start(transport, max_batch_items=2)
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.RouteBatch(ten(), timeout=10)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"


def test_what_expires_while_it_waits_is_not_scored_and_is_counted(start: Start, transport: str) -> None:
    running = start(transport, **NARROW)
    router = running.server.services.engine._router
    score, may_go_on = router._score, threading.Event()
    assert score is not None
    router._score = lambda texts: score(texts) if may_go_on.wait(30) else score(())
    pair = [pb.RouteRequest(text=PLAIN, segment="late")] * 2
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.RouteBatch(pb.RouteBatchRequest(requests=pair), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    may_go_on.set()
    for _ in range(1000):  # the transport has to come round to it
        counters = running.stub.Info(pb.InfoRequest(), timeout=10).counters
        if counters.expired + counters.cancelled:
            break
    assert counters.expired + counters.cancelled == 1
    assert running.server.coverage.totals()["late"].scored == 1  # the one that was being scored already


def test_coverage_tells_how_much_was_scored_by_segment_and_health_says_when_it_is_too_little(
    degrading: Running,
) -> None:
    assert health_of(degrading, "coverage") == SERVING
    for _ in range(3):
        degrading.stub.RouteBatch(ten("crowded"), timeout=10)
        degrading.stub.Route(pb.RouteRequest(text=PLAIN, segment="calm"), timeout=10)
    degrading.server.tick()
    coverage = degrading.stub.Info(pb.InfoRequest(), timeout=10).coverage
    assert [(one.segment, one.scored, one.unscored, one.alarm) for one in coverage.segments] == [
        ("crowded", 3 * SCORED, 3 * (ITEMS - SCORED), True),
        ("calm", 3, 0, False),
    ]
    assert (coverage.overall.scored, coverage.overall.unscored) == (3 * SCORED + 3, 3 * (ITEMS - SCORED))
    assert health_of(degrading, "coverage") == NOT_SERVING
    assert health_of(degrading, "readiness") == SERVING


def test_coverage_recovers_once_the_window_has_passed(start: Start, transport: str) -> None:
    running = start(
        transport, **NARROW, overload=OverloadConfig(max_waiting=SCORED), coverage=CoverageConfig(window_seconds=2)
    )
    for _ in range(3):
        running.stub.RouteBatch(ten(), timeout=10)
    running.server.tick()
    assert health_of(running, "coverage") == NOT_SERVING
    for _ in range(3):
        running.server.tick()
    assert health_of(running, "coverage") == health_pb2.HealthCheckResponse.SERVING


def test_a_flood_of_one_segment_leaves_the_others_their_share(start: Start, transport: str) -> None:
    running = start(transport, **NARROW, overload=OverloadConfig(max_waiting=8))
    flood = [pb.RouteRequest(text=PLAIN, segment="flood")] * 60
    few = [pb.RouteRequest(text=PLAIN, segment="few")] * 3
    reply = running.stub.RouteBatch(pb.RouteBatchRequest(requests=[*flood, *few]), timeout=10)
    assert kinds(reply)[-3:] == ["scored"] * 3
    assert kinds(reply).count("scored") == 8

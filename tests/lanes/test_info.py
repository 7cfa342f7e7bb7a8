import logging
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.coverage import ENOUGH
from sidecar.errors import BundleError
from sidecar.lanes.canary import Canary
from sidecar.lanes.health import COVERAGE
from sidecar.settings import CoverageConfig
from sidecar.stats import Stats
from sidecar.wire import router_pb2 as pb
from tests.conftest import POISON
from tests.lanes.conftest import Running, Start

OTHERS = Stats(
    versions={"tiny 1": (10, 2, 5), "tiny 0": (7, 0, 7)},
    invalid=1,
    shed=2,
    expired=3,
    cancelled=4,
    cache_hits=100,
    cache_misses=200,
    cache_evictions=300,
    cache_bytes=400,
    window={"s": (5, 15), "theirs": (1, 0)},
)


def route(running: Running, text: str = "rice", segment: str = "s", times: int = 1) -> None:
    for _ in range(times):
        running.stub.Route(pb.RouteRequest(text=text, segment=segment), timeout=30)


def health_of(running: Running, name: str) -> str:
    stub = health_pb2_grpc.HealthStub(running.channel)
    status = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))


def test_what_all_workers_served_is_added_up(sidecar: Running) -> None:
    sidecar.server.info.others, sidecar.server.info.workers, sidecar.server.info.worker = OTHERS, 3, 1
    route(sidecar, times=4)
    info = sidecar.stub.Info(pb.InfoRequest(), timeout=30)
    counters = info.counters
    assert (info.worker, info.workers) == (1, 3)
    assert (counters.decisions, counters.degraded, counters.batches) == (4 + 10 + 7, 2, 1 + 5 + 7)
    assert (counters.invalid, counters.shed, counters.expired, counters.cancelled) == (1, 2, 3, 4)
    by_version = {row.version: (row.decisions, row.degraded, row.batches) for row in info.versions}
    assert by_version == {"tiny 1": (14, 2, 6), "tiny 0": (7, 0, 7)}
    assert (counters.cache_hits, counters.cache_misses, counters.cache_evictions) == (3 + 100, 1 + 200, 300)
    assert counters.cache_bytes > 400


def test_coverage_is_of_all_workers_lowest_first_with_its_alarm(sidecar: Running) -> None:
    route(sidecar, times=3)
    sidecar.server.info.others = OTHERS
    sidecar.server.tick()
    coverage = sidecar.stub.Info(pb.InfoRequest(), timeout=30).coverage
    assert (coverage.window_seconds, coverage.alarm_below) == (60, 0.95)
    assert (coverage.overall.scored, coverage.overall.unscored, coverage.overall.alarm) == (9, 15, True)
    rows = [(row.segment, row.scored, row.unscored, row.alarm) for row in coverage.segments]
    assert rows == [("s", 8, 15, True), ("theirs", 1, 0, False)]


def test_a_running_canary_is_told(sidecar: Running) -> None:
    server = sidecar.server
    assert not sidecar.stub.Info(pb.InfoRequest(), timeout=30).HasField("canary")
    bundle = server.bundle
    assert bundle is not None
    assert server.switch(server.services.engine, Canary(server.prepare(bundle.directory), 0.25), 30.0)
    info = sidecar.stub.Info(pb.InfoRequest(), timeout=30)
    assert (info.canary.version, info.canary_share) == ("1", 0.25)


def test_a_segment_that_is_not_scored_turns_health_and_is_logged_once(
    sidecar: Running, caplog: pytest.LogCaptureFixture
) -> None:
    assert health_of(sidecar, COVERAGE) == "SERVING"
    route(sidecar, POISON, "poisoned", ENOUGH)
    route(sidecar, times=ENOUGH)
    with caplog.at_level(logging.WARNING, "sidecar.server"):
        sidecar.server.tick()
        sidecar.server.tick()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "sidecar.server"]
    assert line.startswith(f"coverage of segment 'poisoned' is 0.0 % (0 of {ENOUGH} requests scored)")
    assert "coverage.alarm_below = 0.95" in line
    # The other names say that it answers, which it does.
    assert [health_of(sidecar, name) for name in (COVERAGE, "", "readiness")] == ["NOT_SERVING", "SERVING", "SERVING"]
    caplog.clear()
    route(sidecar, "rice", "poisoned", 20 * ENOUGH)
    with caplog.at_level(logging.WARNING, "sidecar.server"):
        sidecar.server.tick()
    assert [record.getMessage() for record in caplog.records if record.name == "sidecar.server"] == [
        "coverage is back above coverage.alarm_below in every segment"
    ]
    assert health_of(sidecar, COVERAGE) == "SERVING"


def test_a_threshold_of_zero_keeps_health_as_it_is(start: Start, transport: str) -> None:
    running = start(transport, coverage=CoverageConfig(alarm_below=0.0))
    route(running, POISON, times=2 * ENOUGH)
    running.server.tick()
    assert health_of(running, COVERAGE) == "SERVING"


def test_prepare_refuses_another_bundle_than_the_one_that_was_checked(sidecar: Running, versions: Path) -> None:
    with pytest.raises(BundleError, match="another bundle"):
        sidecar.server.prepare(versions / "v2", "00" * 32)

"""A real sidecar over a device that is none, on both lanes."""

import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.errors import ConfigError
from sidecar.lanes.health import DEVICE, SCORING
from sidecar.scoring.providers import CPU
from sidecar.settings import CacheConfig, OverloadConfig
from sidecar.transport.grpcio import server as grpcio_server
from sidecar.transport.http2 import server as http2_server
from sidecar.wire import router_pb2 as pb
from tests.lanes.conftest import Running, Start
from tests.standin import PROVIDER, Devices, until

TEXTS = ["rice", "prove the theorem", "refactor the python function " * 6, "what is the capital"]


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Devices:
    return Devices(monkeypatch)


@pytest.fixture
def running(start: Start, transport: str, encoder_bundle: Path, devices: Devices) -> Running:
    patient = OverloadConfig(max_queue_ms=60_000.0)  # on a busy machine first batches are slow, and would shed others
    every = CacheConfig(max_bytes=0)  # else only the first of equal texts would get to the device
    return start(transport, bundle=str(encoder_bundle), overload=patient, cache=every)


def status(running: Running, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(running.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10.0).status)


def status_or_gone(running: Running) -> int:
    try:
        return status(running, "")
    except grpc.RpcError:
        return 0


def route_many(running: Running, count: int) -> list[pb.RouteResponse]:
    calls = [
        running.stub.Route.future(pb.RouteRequest(text=TEXTS[number % len(TEXTS)]), timeout=30.0)
        for number in range(count)
    ]
    return [call.result() for call in calls]


def test_requests_are_scored_on_the_device(running: Running, devices: Devices) -> None:
    replies = route_many(running, 200)
    assert {reply.bundle_version for reply in replies} == {"encoder"}
    seen = [{round(reply.ranking[0].quality, 4) for reply in replies[at :: len(TEXTS)]} for at in range(len(TEXTS))]
    assert [len(qualities) for qualities in seen] == [1] * len(TEXTS)
    assert seen[0] != seen[1]
    assert sum(devices.last.ran) >= 200
    info = running.stub.Info(pb.InfoRequest())
    assert (info.execution_provider, info.execution_provider_reason, info.device_fault) == (PROVIDER, "a test", "")


def test_every_bucket_is_warm_before_health_says_serving(start: Start, transport: str, encoder_bundle: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        devices = Devices(patch)
        running = start(transport, bundle=str(encoder_bundle), max_score_batch=8)
        assert status(running, "") == health_pb2.HealthCheckResponse.SERVING
        assert set(devices.last.warmed) == devices.last.bucketed.shapes()


def test_a_device_that_fails_mid_flight_costs_no_call_and_shows_everywhere(running: Running, devices: Devices) -> None:
    route_many(running, 20)
    device = devices.last
    devices.broken = True
    device.blocked.clear()
    device.entered.clear()
    calls = [running.stub.Route.future(pb.RouteRequest(text=TEXTS[n % 4]), timeout=30.0) for n in range(60)]
    assert device.entered.wait(30.0)
    device.failing = True
    device.blocked.set()
    replies = [call.result() for call in calls]
    assert {reply.bundle_version for reply in replies} == {"encoder"}
    assert not any(pb.REASON_DEGRADED in reply.reasons for reply in replies)
    assert not any(pb.REASON_DEGRADED in reply.reasons for reply in route_many(running, 20))
    info = running.stub.Info(pb.InfoRequest())
    assert info.execution_provider == CPU
    assert "DeviceFault" in info.device_fault
    assert not info.degraded
    running.server.tick()
    until(lambda: status(running, DEVICE) == health_pb2.HealthCheckResponse.NOT_SERVING)
    assert status(running, SCORING) == health_pb2.HealthCheckResponse.SERVING
    own = running.server.info.own()
    assert (own.providers, own.device_faults) == ({CPU: (1,)}, 1)


def test_the_transport_is_woken_when_the_device_is_done(
    start: Start, transport: str, encoder_bundle: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (grpcio_server, http2_server):
        monkeypatch.setattr(module, "IDLE_S", 3600.0)  # by itself it would look in an hour
    running = start(transport, bundle=str(encoder_bundle))
    assert {reply.bundle_version for reply in route_many(running, 20)} == {"encoder"}
    assert devices.last.ran


def test_answers_of_a_stream_come_in_its_order(running: Running) -> None:
    asked = [
        pb.RouteStreamRequest(sequence=number, request=pb.RouteRequest(text=TEXTS[number % len(TEXTS)]))
        for number in range(400)
    ]
    replies = list(running.stub.RouteStream(iter(asked), timeout=60.0))
    assert [reply.sequence for reply in replies] == list(range(400))
    assert all(reply.result.response.bundle_version == "encoder" for reply in replies)


def test_a_batch_call_gets_all_its_items_in_order(running: Running) -> None:
    requests = [pb.RouteRequest(text=TEXTS[number % 2]) for number in range(100)]
    results = running.stub.RouteBatch(pb.RouteBatchRequest(requests=requests), timeout=60.0).results
    qualities = [round(result.response.ranking[0].quality, 3) for result in results]
    assert len(set(qualities[::2])) == len(set(qualities[1::2])) == 1
    assert qualities[0] != qualities[1]


def test_calls_in_flight_are_answered_at_the_end(running: Running, devices: Devices) -> None:
    device = devices.last
    device.blocked.clear()
    device.entered.clear()
    calls = [running.stub.Route.future(pb.RouteRequest(text="rice"), timeout=30.0) for _ in range(10)]
    until(lambda: len(running.server.services.batcher) == len(calls))
    ending = threading.Thread(target=running.drain)
    ending.start()
    until(lambda: status_or_gone(running) != health_pb2.HealthCheckResponse.SERVING)
    device.blocked.set()
    assert [call.result().bundle_version for call in calls] == ["encoder"] * len(calls)
    ending.join(30.0)
    assert not running.server.transport.thread.is_alive()


def test_a_device_that_is_demanded_and_absent_ends_the_start(
    start: Start, transport: str, encoder_bundle: Path
) -> None:
    for bundle in (str(encoder_bundle), ""):
        with pytest.raises(ConfigError, match="provider: cuda is demanded, but the installed ONNX Runtime offers only"):
            start(transport, bundle=bundle, provider="cuda")

"""Both lanes say the same of their state, and end alike: Info, health, reflection, faults, shutdown; on each of them."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from sidecar.config import CandidateConfig
from sidecar.errors import ConfigError
from sidecar.wire import router_pb2 as pb
from tests.lanes.asking import HARD, NOT_SERVING, PLAIN, SERVING, health_of, refused
from tests.lanes.conftest import Running, Start

# --- Info, health, reflection ----------------------------------------------------------------------------------------


def test_info_says_what_runs_and_counts_what_was_served(sidecar: Running, transport: str) -> None:
    sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10)
    refused(sidecar.stub.Route, pb.RouteRequest())
    info = sidecar.stub.Info(pb.InfoRequest(), timeout=10)
    assert (info.transport, info.execution_provider, info.degraded) == (transport, "CPUExecutionProvider", "")
    assert len(info.bundle.manifest_sha256) == 64
    assert [row.name for row in info.candidates] == ["small", "medium", "large"]
    assert set(info.policies) == {"thrifty", "balanced", "quality"}
    assert info.limits.max_message_bytes == 8 << 20
    assert info.limits.max_scored_chars > 0
    assert (info.counters.decisions, info.counters.invalid, info.counters.degraded) == (1, 1, 0)


@pytest.mark.parametrize("name", ["", "router.v1.RouterService", "liveness", "readiness", "scoring"])
def test_every_health_name_is_serving(sidecar: Running, name: str) -> None:
    assert health_of(sidecar, name) == SERVING


def test_an_unknown_health_name_is_not_found(sidecar: Running) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_of(sidecar, "weather")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services_under_both_names(sidecar: Running, version: str) -> None:
    method: Any = sidecar.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (reply,) = method(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)
    names = {service.name for service in reply.list_services_response.service}
    assert names >= {"router.v1.RouterService", "grpc.health.v1.Health"}


def test_idle_reflection_streams_do_not_keep_others_waiting(sidecar: Running) -> None:
    method: Any = sidecar.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    done = threading.Event()

    def idle() -> Iterator[bytes]:
        yield reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        done.wait(60)

    streams = [method(idle(), timeout=5) for _ in range(8)]
    answered = 0
    for stream in streams:
        with contextlib.suppress(grpc.RpcError):
            next(stream)
            answered += 1
    assert answered == len(streams)
    assert health_of(sidecar, "") == SERVING
    assert sidecar.stub.Info(pb.InfoRequest(), timeout=10).version
    done.set()


def test_every_call_of_a_flood_gets_its_own_status_and_the_good_one_its_answer(sidecar: Running) -> None:
    bad = [sidecar.stub.Route.future(pb.RouteRequest(), timeout=30) for _ in range(600)]
    good = sidecar.stub.Route.future(pb.RouteRequest(text=PLAIN), timeout=30)
    assert good.result().model
    assert {call.code() for call in bad} == {grpc.StatusCode.INVALID_ARGUMENT}


# --- faults and shutdown ---------------------------------------------------------------------------------------------


def test_without_a_usable_bundle_the_safe_candidate_answers_and_health_says_so(
    start: Start, transport: str, tmp_path: Path
) -> None:
    running = start(
        transport,
        bundle=str(tmp_path / "missing"),
        candidates=(CandidateConfig(name="cheap"), CandidateConfig(name="sure", model="vendor/sure")),
        safe_candidate="sure",
    )
    reply = running.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10)
    assert reply.model == "vendor/sure"
    assert list(reply.reasons) == [pb.REASON_DEGRADED]
    assert (reply.bundle_name, reply.bundle_version) == ("", "")
    assert health_of(running, "scoring") == NOT_SERVING
    assert health_of(running, "readiness") == SERVING
    assert "missing" in running.stub.Info(pb.InfoRequest(), timeout=10).degraded


def test_a_scoring_fault_degrades_and_recovers(sidecar: Running) -> None:
    ill = sidecar.stub.Route(pb.RouteRequest(text="poison"), timeout=10)
    assert list(ill.reasons) == [pb.REASON_DEGRADED]
    assert ill.model == "large"
    assert sidecar.stub.Info(pb.InfoRequest(), timeout=10).degraded
    well = sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10)
    assert pb.REASON_LEARNED in well.reasons
    assert sidecar.stub.Info(pb.InfoRequest(), timeout=10).degraded == ""


def test_draining_says_not_serving_lets_open_calls_end_and_closes(sidecar: Running) -> None:
    watch = health_pb2_grpc.HealthStub(sidecar.channel).Watch(
        health_pb2.HealthCheckRequest(service="readiness"), timeout=30
    )
    assert next(watch).status == SERVING
    may_go_on = threading.Event()

    def requests() -> Iterator[pb.RouteStreamRequest]:
        yield pb.RouteStreamRequest(sequence=1, request=pb.RouteRequest(text=PLAIN))
        may_go_on.wait(20)
        yield pb.RouteStreamRequest(sequence=2, request=pb.RouteRequest(text=HARD))

    stream = sidecar.stub.RouteStream(requests(), timeout=30)
    assert next(stream).sequence == 1
    draining = threading.Thread(target=sidecar.drain)
    draining.start()
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    may_go_on.set()
    assert [reply.sequence for reply in stream] == [2]
    draining.join(20)
    assert not draining.is_alive()
    code, _ = refused(sidecar.stub.Route, pb.RouteRequest(text=PLAIN))
    assert code is grpc.StatusCode.UNAVAILABLE


def test_a_taken_port_is_a_clear_error(start: Start, transport: str, sidecar: Running) -> None:
    with pytest.raises(ConfigError, match="listen: cannot bind"):
        start(transport, listen=sidecar.address)

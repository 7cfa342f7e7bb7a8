"""Tokens on both lanes, over real connections."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from sidecar.config import Config
from sidecar.door.tokens import Role, mint
from sidecar.lanes.health import Health
from sidecar.lanes.roles import ROLES, role_of
from sidecar.transport.choose import transport_of
from sidecar.wire import router_pb2 as pb
from tests.lanes.conftest import Running, Start

PLAIN = pb.RouteRequest(text="what is the capital of a small country")
STREAMED = pb.RouteStreamRequest(sequence=1, request=PLAIN)
ROUTE = "/router.v1.RouterService/Route"
LIST = "/router.v1.BundleService/List"
UNAUTHENTICATED, PERMISSION_DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
METHODS = ("Route", "RouteBatch", "RouteStream", "Info")

Metadata = tuple[tuple[str, str], ...]


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


@pytest.fixture(scope="module")
def tokens() -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tokens: dict[str, str]) -> Path:
    """A tokens file with one token for each role; `tokens` holds them by role."""
    path = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    minted = {role: mint(role.value, [role]) for role in Role}
    tokens.update({role.value: one.token for role, one in minted.items()})
    path.write_text("\n".join(one.lines for one in minted.values()))
    return path


@pytest.fixture
def guarded(start: Start, transport: str, file: Path) -> Running:
    return start(transport, tokens=str(file))


def call(running: Running, method: str, metadata: Metadata) -> Any:
    stub = running.stub
    if method == "RouteStream":
        return list(stub.RouteStream(iter([STREAMED]), timeout=10, metadata=metadata))
    requests = {"Route": PLAIN, "RouteBatch": pb.RouteBatchRequest(requests=[PLAIN]), "Info": pb.InfoRequest()}
    return getattr(stub, method)(requests[method], timeout=10, metadata=metadata)


def refusal(running: Running, method: str, metadata: Metadata) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(running, method, metadata)
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.parametrize("method", METHODS)
def test_a_method_answers_those_who_show_a_token_with_its_role_and_nobody_else(
    guarded: Running, tokens: dict[str, str], method: str
) -> None:
    assert call(guarded, method, bearer(tokens["route"]))
    code, details = refusal(guarded, method, ())
    assert code is UNAUTHENTICATED
    assert "authorization: Bearer TOKEN" in details
    assert refusal(guarded, method, bearer("rs_" + "x" * 43))[0] is UNAUTHENTICATED
    code, details = refusal(guarded, method, bearer(tokens["operate"]))
    assert code is PERMISSION_DENIED
    assert "role route" in details


def test_those_who_are_refused_are_not_scored_and_do_not_wait_for_a_message(guarded: Running) -> None:
    done = threading.Event()

    def never() -> Iterator[bytes]:
        done.wait(30)
        yield from ()

    for path in (ROUTE, "/router.v1.RouterService/Info", "/router.v1.RouterService/RouteStream"):
        silent: Any = guarded.channel.stream_unary(path)
        with pytest.raises(grpc.RpcError) as caught:
            silent(never(), timeout=10)
        assert caught.value.code() is UNAUTHENTICATED
    done.set()
    assert guarded.server.services.engine.tally.decisions == 0


def test_many_refusals_at_once_leave_the_good_ones_their_answers(guarded: Running, tokens: dict[str, str]) -> None:
    good, bad = bearer(tokens["route"]), bearer("rs_nobody")
    calls = [guarded.stub.Route.future(PLAIN, timeout=30, metadata=(bad, good)[n % 4 == 0]) for n in range(300)]
    assert all(calls[n].result().model for n in range(0, 300, 4))
    assert {call.code() for n, call in enumerate(calls) if n % 4} == {UNAUTHENTICATED}


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "Basic cm91dGVyOnNlY3JldA=="),),
        (("authorization", "Bearer"),),
        (("authorization", ""),),
        (("authorization-bin", b"Bearer x"),),
    ],
)
def test_other_headers_are_unauthenticated(guarded: Running, metadata: Metadata) -> None:
    assert refusal(guarded, "Route", metadata)[0] is UNAUTHENTICATED


def test_the_scheme_is_read_without_regard_to_case(guarded: Running, tokens: dict[str, str]) -> None:
    assert call(guarded, "Route", (("authorization", f"bearer {tokens['route']}"),)).model


def test_health_is_open_to_probes(guarded: Running) -> None:
    stub = health_pb2_grpc.HealthStub(guarded.channel)
    reply = stub.Check(health_pb2.HealthCheckRequest(service="readiness"), timeout=10)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_needs_a_token_of_any_role(guarded: Running, tokens: dict[str, str], version: str) -> None:
    method: Any = guarded.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    for role in Role:
        (reply,) = method(iter(asked), timeout=10, metadata=bearer(tokens[role]))
        assert reply.list_services_response.service
    with pytest.raises(grpc.RpcError) as caught:
        list(method(iter(asked), timeout=10))
    assert caught.value.code() is UNAUTHENTICATED


def test_tokens_are_taken_up_and_dropped_without_a_restart(
    start: Start, transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.toml"
    old, new = mint("gateway", [Role.ROUTE]), mint("gateway", [Role.ROUTE])
    file.write_text(old.lines)
    running = start(transport, tokens=str(file))
    admission = running.server.transport.access.tokens  # type: ignore[attr-defined]

    def a_second_later(token: str) -> grpc.StatusCode:
        admission._look_at = 0.0
        try:
            call(running, "Route", bearer(token))
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    assert a_second_later(old.token) is grpc.StatusCode.OK
    file.write_text("[[tokens]]\nname = ")
    assert [a_second_later(token) for token in (old.token, old.token, new.token)] == [
        grpc.StatusCode.OK,
        grpc.StatusCode.OK,
        UNAUTHENTICATED,
    ]
    assert sum("not TOML" in record.getMessage() for record in caplog.records) == 1
    file.write_text(new.lines)
    assert a_second_later(new.token) is grpc.StatusCode.OK
    assert a_second_later(old.token) is UNAUTHENTICATED


def test_a_method_that_stands_in_no_table_needs_the_role_operate(
    transport: str, file: Path, tokens: dict[str, str]
) -> None:
    nothing: Any = SimpleNamespace(
        unary={},
        streams={},
        cold={LIST: lambda _raw: b"bundles"},
        watches={},
        ready=False,
        offer=None,
        flush=lambda: None,
    )
    serving = transport_of(Config(transport=transport, tokens=str(file)), nothing, Health())  # type: ignore[arg-type]
    with grpc.insecure_channel(serving.start("127.0.0.1:0")) as channel:
        method: Any = channel.unary_unary(LIST)
        assert method(b"", timeout=10, metadata=bearer(tokens["operate"])) == b"bundles"
        with pytest.raises(grpc.RpcError) as caught:
            method(b"", timeout=10, metadata=bearer(tokens["route"]))
    serving.drain(1.0)
    assert caught.value.code() is PERMISSION_DENIED
    assert "role operate" in (caught.value.details() or "")


def test_every_method_of_the_router_has_its_role() -> None:
    service = pb.DESCRIPTOR.services_by_name["RouterService"]
    assert {f"/{service.full_name}/{method.name}" for method in service.methods} <= set(ROLES)
    assert role_of(LIST) is Role.OPERATE
    assert role_of("/router.v1.RouterService/ReportOutcome") is Role.REPORT

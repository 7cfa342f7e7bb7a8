"""Each limit bites, on both lanes, over real connections."""

import struct
from pathlib import Path

import grpc
import pytest
import trustme

from sidecar.door.settings import LimitsConfig, TlsConfig
from sidecar.transport.grpcio.options import options
from sidecar.transport.http2.peer import PING_STRIKES
from sidecar.wire import router_pb2 as pb
from tests import pki
from tests.lanes.conftest import Running, Start
from tests.lanes.raw import ACK, GOAWAY, PING, PREFACE, RST_STREAM, SETTINGS, Raw

PLAIN = pb.RouteRequest(text="what is the capital of a small country")
STREAM = "/router.v1.RouterService/RouteStream"
MAX_CONCURRENT_STREAMS = 3  # the setting's number in HTTP/2
NO_ERROR, REFUSED_STREAM, ENHANCE_YOUR_CALM = 0, 7, 11
SHORT, LONG = 0.2, 3600.0


def route(running: Running, header_bytes: int) -> grpc.StatusCode:
    try:
        running.stub.Route(PLAIN, timeout=10, metadata=(("x-filler", "x" * header_bytes),))
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_metadata_over_the_limit_is_resource_exhausted_every_time(start: Start, transport: str) -> None:
    running = start(transport, limits=LimitsConfig(max_metadata_bytes=4096))
    assert {route(running, 3000) for _ in range(20)} == {grpc.StatusCode.OK}
    # grpc lets those wait who are over it, each for 0.1 s or more.
    assert {route(running, 4096) for _ in range(4)} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert route(start(transport), 12_000) is grpc.StatusCode.OK
    assert running.server.services.engine.tally.decisions == 20


def test_streams_over_the_limit_are_refused_and_the_others_live(start: Start, transport: str) -> None:
    running = start(transport, limits=LimitsConfig(max_concurrent_streams=3))
    with Raw(running.address) as peer:
        peer.greet()
        settings = peer.until(SETTINGS)
        assert settings is not None
        assert (MAX_CONCURRENT_STREAMS, 3) in struct.iter_unpack(">HI", settings.payload)
        peer.frame(SETTINGS, ACK)
        opened = [peer.open_stream(STREAM) for _ in range(4)]
        reset = peer.until(RST_STREAM)
        assert reset is not None
        assert (reset.stream, struct.unpack(">I", reset.payload)) == (opened[-1], (REFUSED_STREAM,))
    assert route(running, 0) is grpc.StatusCode.OK


def test_connections_over_the_limit_are_closed_and_the_others_live(start: Start, transport: str) -> None:
    running = start(transport, limits=LimitsConfig(max_connections=2))
    assert route(running, 0) is grpc.StatusCode.OK
    with Raw(running.address) as second, Raw(running.address) as third:
        second.greet()
        assert second.until(SETTINGS) is not None
        assert third.read() is None
    assert route(running, 0) is grpc.StatusCode.OK


@pytest.mark.parametrize("begun", [b"", PREFACE[:10], PREFACE])
def test_a_connection_that_does_not_get_under_way_is_closed(start: Start, transport: str, begun: bytes) -> None:
    running = start(transport, limits=LimitsConfig(handshake_timeout_seconds=SHORT))
    with Raw(running.address) as peer:
        peer.write(begun)
        peer.until(GOAWAY)  # where HTTP/2 had begun, the reason comes first
        assert peer.read() is None
    assert route(running, 0) is grpc.StatusCode.OK


def test_a_tls_handshake_that_does_not_get_under_way_is_closed(start: Start, transport: str, tmp_path: Path) -> None:
    files = pki.write(pki.issue(trustme.CA()), tmp_path)
    tls = TlsConfig(certificate=str(files.certificate), key=str(files.key))
    running = start(transport, tls=tls, limits=LimitsConfig(handshake_timeout_seconds=SHORT))
    with Raw(running.address) as peer:
        peer.write(b"\x16\x03\x01")  # the first bytes of a ClientHello
        assert peer.read() is None


def test_a_silent_peer_is_pinged_and_dropped_if_it_does_not_answer(start: Start, transport: str) -> None:
    limits = LimitsConfig(keepalive_seconds=SHORT, keepalive_timeout_seconds=SHORT)
    running = start(transport, limits=limits)
    with Raw(running.address) as peer:
        peer.greet()
        assert peer.until(PING) is not None
        assert peer.until(SETTINGS) is None  # closed


def test_a_silent_peer_that_answers_pings_is_kept(start: Start, transport: str) -> None:
    limits = LimitsConfig(keepalive_seconds=0.1, keepalive_timeout_seconds=1.0)
    running = start(transport, limits=limits)
    with Raw(running.address) as peer:
        peer.greet()
        for _ in range(15):  # for longer than the timeout
            ping = peer.until(PING)
            assert ping is not None
            peer.frame(PING, ACK, payload=ping.payload)


def test_a_peer_that_pings_too_often_is_told_to_go_away(start: Start, transport: str) -> None:
    running = start(transport, limits=LimitsConfig(min_ping_seconds=LONG))
    with Raw(running.address) as peer:
        peer.greet()
        for _ in range(PING_STRIKES + 2):
            peer.frame(PING, payload=bytes(8))
        told = peer.until(GOAWAY)
        assert told is not None
        _last, code = struct.unpack_from(">II", told.payload)
        assert (code, told.payload[8:]) == (ENHANCE_YOUR_CALM, b"too_many_pings")
    assert route(running, 0) is grpc.StatusCode.OK


def test_pings_within_the_limit_are_answered(start: Start, transport: str) -> None:
    running = start(transport, limits=LimitsConfig(min_ping_seconds=0.0))
    with Raw(running.address) as peer:
        peer.greet()
        for number in range(20):
            peer.frame(PING, payload=number.to_bytes(8, "big"))
            pong = peer.until(PING)
            assert pong is not None
            assert (pong.flags, pong.payload) == (ACK, number.to_bytes(8, "big"))


def test_a_connection_of_age_is_ended_in_good_order_and_its_client_goes_on(start: Start, transport: str) -> None:
    limits = LimitsConfig(max_connection_age_seconds=SHORT, max_connection_age_grace_seconds=SHORT)
    running = start(transport, limits=limits)
    with Raw(running.address) as peer:
        peer.greet()
        told = peer.until(GOAWAY)
        assert told is not None
        assert struct.unpack_from(">II", told.payload)[1] == NO_ERROR
        assert peer.until(SETTINGS) is None  # closed
    assert route(running, 0) is grpc.StatusCode.OK


def test_what_is_switched_off_is_not_there() -> None:
    off = LimitsConfig(max_connections=0, keepalive_seconds=0.0, max_connection_age_seconds=0.0)
    names = {name for name, _ in options(1024, off, shared=False)}
    for absent in ("max_allowed_incoming_connections", "keepalive_time_ms", "max_connection_age_ms"):
        assert f"grpc.{absent}" not in names

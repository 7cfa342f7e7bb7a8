"""TLS on both lanes, over real connections."""

import logging
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from sidecar.door.settings import TlsConfig
from sidecar.errors import ConfigError
from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc
from tests import pki
from tests.lanes.conftest import Running, Start

PLAIN = pb.RouteRequest(text="what is the capital of a small country")


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def tls(files: pki.Files, client_ca: Path | None = None) -> TlsConfig:
    return TlsConfig(
        certificate=str(files.certificate), key=str(files.key), client_ca=str(client_ca) if client_ca else ""
    )


def route(running: Running, ca: trustme.CA, client: trustme.LeafCert | None = None) -> pb.RouteResponse:
    mine = (client.private_key_pem.bytes(), pki.chain(client)) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.cert_pem.bytes(), *mine)
    # A connection of its own: grpc shares those with equal options.
    with grpc.secure_channel(running.address, credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = rpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
        reply: pb.RouteResponse = stub.Route(PLAIN, timeout=10)
        return reply


def refused(running: Running, ca: trustme.CA, client: trustme.LeafCert | None = None) -> bool:
    with pytest.raises(grpc.RpcError) as caught:
        route(running, ca, client)
    return caught.value.code() is grpc.StatusCode.UNAVAILABLE


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [record for record in caplog.records if record.name.startswith("sidecar")]
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


def test_calls_are_answered_over_tls_and_not_in_plain_text(
    start: Start, transport: str, ca: trustme.CA, tmp_path: Path
) -> None:
    running = start(transport, tls=tls(pki.write(pki.issue(ca), tmp_path)))
    assert route(running, ca).model
    assert refused(running, trustme.CA())
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.Route(PLAIN, timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_new_certificate_is_served_without_a_restart_and_open_connections_live_on(
    start: Start, transport: str, ca: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = pki.issue(ca), pki.issue(ca)
    running = start(transport, tls=tls(pki.write(first, tmp_path)))
    with grpc.secure_channel(running.address, grpc.ssl_channel_credentials(ca.cert_pem.bytes())) as channel:
        stub: Any = rpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
        assert stub.Route(PLAIN, timeout=10).model
        assert pki.shake(running.address, ca) == first.cert_chain_pems[0].bytes()
        pki.write(second, tmp_path)
        served = {pki.shake(running.address, ca) for _ in range(3)}
        assert served == {second.cert_chain_pems[0].bytes()}
        assert stub.Route(PLAIN, timeout=10).model
    assert route(running, ca).model
    assert sum("a new certificate is served" in record.getMessage() for record in caplog.records) == 1


def test_while_the_key_is_not_yet_replaced_the_old_pair_is_served(
    start: Start, transport: str, ca: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = pki.issue(ca)
    files = pki.write(old, tmp_path)
    running = start(transport, tls=tls(files))
    for _ in range(5):
        new = pki.issue(ca)
        caplog.clear()
        files.certificate.write_bytes(pki.chain(new))
        # A handshake proves that the key fits: with another one the signature in it would be wrong.
        assert {pki.shake(running.address, ca) for _ in range(3)} == {old.cert_chain_pems[0].bytes()}
        (said,) = warnings(caplog)
        assert "do not go together" in said
        files.key.write_bytes(new.private_key_pem.bytes())
        assert pki.shake(running.address, ca) == new.cert_chain_pems[0].bytes()
        old = new


@pytest.mark.parametrize("damage", ["half a certificate", "half a key", "empty", "gone"])
def test_broken_files_leave_the_certificate_in_use_and_are_logged_once(
    start: Start, transport: str, ca: trustme.CA, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    leaf = pki.issue(ca)
    files = pki.write(leaf, tmp_path)
    running = start(transport, tls=tls(files))
    new = pki.issue(ca)
    pki.write(new, tmp_path)
    if damage == "half a certificate":
        files.certificate.write_bytes(pki.chain(new)[:300])
    elif damage == "half a key":
        files.key.write_bytes(new.private_key_pem.bytes()[:100])
    elif damage == "empty":
        files.certificate.write_bytes(b"")
    else:
        files.key.unlink()
    assert {pki.shake(running.address, ca) for _ in range(3)} == {leaf.cert_chain_pems[0].bytes()}
    (said,) = warnings(caplog)
    assert str(files.key) in said
    pki.write(new, tmp_path)
    assert pki.shake(running.address, ca) == new.cert_chain_pems[0].bytes()


def test_a_mount_that_swaps_a_symbolic_link_is_followed(
    start: Start, transport: str, ca: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pki.issue(ca), pki.issue(ca)
    for name, leaf in (("..1", first), ("..2", second)):
        pki.write(leaf, tmp_path / name)
    data = tmp_path / "..data"
    data.symlink_to("..1")
    files = pki.Files(tmp_path / "tls.crt", tmp_path / "tls.key")
    for file in files:
        file.symlink_to(Path("..data") / file.name)
    running = start(transport, tls=tls(files))
    assert pki.shake(running.address, ca) == first.cert_chain_pems[0].bytes()
    (tmp_path / "..data_tmp").symlink_to("..2")
    os.replace(tmp_path / "..data_tmp", data)  # noqa: PTH105 - the call that the kubelet makes
    assert pki.shake(running.address, ca) == second.cert_chain_pems[0].bytes()
    assert not warnings(caplog)


def test_where_client_ca_is_set_only_its_certificates_come_in_and_a_new_authority_is_taken_live(
    start: Start, transport: str, ca: trustme.CA, tmp_path: Path
) -> None:
    clients, others = trustme.CA(), trustme.CA()
    mine, foreign = clients.issue_cert("gateway"), others.issue_cert("gateway")
    authority = pki.write_ca(clients, tmp_path / "clients.pem")
    running = start(transport, tls=tls(pki.write(pki.issue(ca), tmp_path), authority))
    assert route(running, ca, mine).model
    assert refused(running, ca)
    assert refused(running, ca, foreign)
    authority.write_bytes(clients.cert_pem.bytes() + others.cert_pem.bytes())
    assert route(running, ca, foreign).model
    authority.write_bytes(b"nobody")  # broken: those before stay
    assert route(running, ca, foreign).model
    assert refused(running, ca)


def test_files_that_do_not_go_together_are_refused_at_the_start(
    start: Start, transport: str, ca: trustme.CA, tmp_path: Path
) -> None:
    files = pki.write(pki.issue(ca), tmp_path)
    files.key.write_bytes(pki.issue(ca).private_key_pem.bytes())
    with pytest.raises(ConfigError, match=r"tls\.certificate, tls\.key: .* do not go together"):
        start(transport, tls=tls(files))


def test_an_address_that_others_reach_is_refused_without_a_door(start: Start, transport: str) -> None:
    with pytest.raises(ConfigError, match=r"listen: '0\.0\.0\.0:0' is reachable from elsewhere"):
        start(transport, listen="0.0.0.0:0")


def test_a_certificate_that_grpc_cannot_serve_is_refused_and_never_taken_over(
    start: Start, transport: str, ca: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leaf = pki.issue(ca)
    files = pki.write(leaf, tmp_path)
    running = start(transport, tls=tls(files))
    pki.write_ed25519(files)
    with pytest.raises(ConfigError, match=r"tls\.certificate: .* no PEM certificate for a kind of key"):
        start(transport, tls=tls(files))
    assert pki.shake(running.address, ca) == leaf.cert_chain_pems[0].bytes()
    assert route(running, ca).model
    (said,) = warnings(caplog)
    assert "P-256" in said

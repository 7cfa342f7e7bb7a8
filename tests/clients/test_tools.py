"""Tools that speak HTTP/2 but know nothing of gRPC: curl, nghttp and h2load (Debian: curl, nghttp2-client)."""

import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar.settings import OverloadConfig
from sidecar.wire import router_pb2 as pb
from tests.clients.building import needs, version_of
from tests.clients.conftest import OVER_GRPC_CORE, Secured, Sidecar, Start
from tests.clients.programs import PATIENCE_S

PLAIN = pb.RouteRequest(text="what is the capital of a small country")
UNKNOWN_POLICY = pb.RouteRequest(text="x", policy_name="günstig 100% 安い")
GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
PREFIX = 5
TIMED_OUT, UNTRUSTED = 28, 60
MEGABYTE = 1_000_000
# On a slow machine, too, nothing is turned away.
PATIENT = OverloadConfig(max_waiting=10_000, max_queue_ms=60_000.0)


def framed(message: pb.RouteRequest | pb.RouteBatchRequest) -> bytes:
    """A message as gRPC sends it: not compressed, with its length."""
    payload = message.SerializeToString()
    return b"\0" + struct.pack(">I", len(payload)) + payload


def url(address: str, method: str = "Route", scheme: str = "http") -> str:
    return f"{scheme}://{address}/router.v1.RouterService/{method}"


class Curl:
    """curl, with what it wrote of headers, trailers and body."""

    def __init__(self, directory: Path) -> None:
        self._headers, self._body = directory / "headers", directory / "body"

    def call(self, target: str, message: bytes, *options: str) -> int:
        """Makes a call with a message on standard input; gives curl's exit status."""
        secure = target.startswith("https")
        version = "--http2" if secure else "--http2-prior-knowledge"
        written = ("-D", str(self._headers), "-o", str(self._body))
        command = ("curl", "-sS", version, *GRPC, "--data-binary", "@-", *written, *options, target)
        return subprocess.run(command, input=message, capture_output=True, check=False, timeout=PATIENCE_S).returncode

    def field(self, name: str) -> str:
        """A header or trailer; empty if it was not sent."""
        found = re.search(rf"^{name}: ([^\r\n]*)", self._headers.read_text(encoding="utf-8"), re.MULTILINE)
        return found[1] if found else ""

    def message(self) -> bytes:
        """The one message of the reply."""
        body = self._body.read_bytes()
        compressed, size = struct.unpack_from(">BI", body)
        assert (compressed, size) == (0, len(body) - PREFIX)
        return body[PREFIX:]


@pytest.fixture
def curl(tmp_path: Path) -> Curl:
    if "HTTP2" not in version_of("curl", "--version").split():
        pytest.skip("this curl does not speak HTTP/2")
    return Curl(tmp_path)


def test_curl_gets_a_reply_and_the_status_in_the_trailers(curl: Curl, sidecar: Sidecar) -> None:
    assert curl.call(url(sidecar.address), framed(PLAIN)) == 0
    assert curl.field("content-type") == "application/grpc"
    assert curl.field("grpc-status") == "0"
    assert pb.RouteResponse.FromString(curl.message()).model


def test_words_of_an_error_are_percent_encoded(curl: Curl, sidecar: Sidecar) -> None:
    assert curl.call(url(sidecar.address), framed(UNKNOWN_POLICY)) == 0
    assert curl.field("grpc-status") == "3"
    # Printable ASCII but for the percent sign goes as it is (gRPC over HTTP/2, Status-Message).
    assert curl.field("grpc-message").startswith(
        "policy_name: no policy is called 'g%C3%BCnstig 100%25 %E5%AE%89%E3%81%84'; known are thrifty"
    )


def test_a_refusal_has_its_pushback_in_the_trailers(curl: Curl, start: Start) -> None:
    batch = pb.RouteBatchRequest(requests=[PLAIN] * 3)
    assert curl.call(url(start(max_batch_items=2).address, "RouteBatch"), framed(batch)) == 0
    assert (curl.field("grpc-status"), curl.field("grpc-retry-pushback-ms")) == ("8", "-1")


def test_a_call_whose_time_is_over_when_it_comes_is_told_so(curl: Curl, sidecar: Sidecar) -> None:
    sidecar.hold()  # gRPC's core rounds up to a millisecond
    assert curl.call(url(sidecar.address), framed(PLAIN), "-H", "grpc-timeout: 1n") == 0
    assert curl.field("grpc-status") == "4"


def test_curl_that_hangs_up_leaves_the_sidecar_serving(curl: Curl, sidecar: Sidecar) -> None:
    hold = sidecar.hold()
    assert curl.call(url(sidecar.address), framed(PLAIN), "--max-time", "0.3") == TIMED_OUT
    hold.release()
    assert curl.call(url(sidecar.address), framed(PLAIN)) == 0
    assert curl.field("grpc-status") == "0"


def test_curl_sends_and_takes_megabytes(curl: Curl, start: Start) -> None:
    address = start(max_batch_items=5000, overload=PATIENT).address
    text = "kitchen " * (3 << 17)
    assert curl.call(url(address), framed(pb.RouteRequest(text=text))) == 0
    assert pb.RouteResponse.FromString(curl.message()).prompt_tokens == len(text) // 4
    assert curl.call(url(address, "RouteBatch"), framed(pb.RouteBatchRequest(requests=[PLAIN] * 5000))) == 0
    assert len(curl.message()) > MEGABYTE
    assert len(pb.RouteBatchResponse.FromString(curl.message()).results) == 5000


def test_curl_agrees_on_http2_in_the_handshake_and_checks_the_certificate(curl: Curl, secured: Secured) -> None:
    target = url(secured.address, scheme="https")
    assert curl.call(target, framed(PLAIN), "--cacert", str(secured.ca)) == 0
    assert curl.field("grpc-status") == "0"
    assert curl.call(target, framed(PLAIN), "--cacert", str(secured.foreign_ca)) == UNTRUSTED


def nghttp(target: str, message: bytes, directory: Path, *options: str) -> str:
    """What nghttp tells of every frame and field."""
    needs("nghttp")
    body = directory / "request"
    body.write_bytes(message)
    command = ("nghttp", "-v", "-n", "-d", str(body), *GRPC, *options, target)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--header-table-size=0",),
        ("--header-table-size=65536", "--encoder-header-table-size=0"),
        ("--window-bits=4", "--connection-window-bits=16"),
        ("--no-dep",),
        ("--multiply=50",),
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_nghttp_is_answered_whatever_it_does_with_frames(
    sidecar: Sidecar, tmp_path: Path, options: Sequence[str]
) -> None:
    told = nghttp(url(sidecar.address), framed(PLAIN), tmp_path, *options)
    calls = 50 if "--multiply=50" in options else 1
    assert told.count(":status: 200") == calls
    assert told.count("grpc-status: 0") == calls


def test_padded_frames_are_read(sidecar: Sidecar, transport: str, tmp_path: Path) -> None:
    told = nghttp(url(sidecar.address), framed(PLAIN), tmp_path, "--padding=200")
    # gRPC's core reads no padding: the connection ends with "Failed parsing HTTP/2".
    assert f"grpc-status: {14 if transport in OVER_GRPC_CORE else 0}" in told


def test_headers_that_come_in_pieces_are_answered_or_refused(sidecar: Sidecar, tmp_path: Path) -> None:
    # nghttp adds headers of 16 KiB in all, which need a CONTINUATION frame and are over our limit. A client that has not
    # yet acknowledged the limit may be answered all the same.
    for _ in range(3):
        told = nghttp(url(sidecar.address), framed(PLAIN), tmp_path, "--continuation")
        assert re.search(r"grpc-status: [08]\b|:status: 431", told)
    assert "grpc-status: 0" in nghttp(url(sidecar.address), framed(PLAIN), tmp_path)


def test_a_large_reply_waits_for_a_small_window(start: Start, tmp_path: Path) -> None:
    items = 500
    batch = pb.RouteBatchRequest(requests=[PLAIN] * items)
    address = start(max_batch_items=items).address
    told = nghttp(url(address, "RouteBatch"), framed(batch), tmp_path, "--window-bits=10")
    sizes = [int(size) for size in re.findall(r"recv DATA frame <length=(\d+)", told)]
    assert sum(sizes) > 50_000
    assert max(sizes) < 1 << 10
    assert "grpc-status: 0" in told


def h2load(target: str, message: bytes, directory: Path, calls: int, *options: str) -> None:
    """Makes calls; each must be answered."""
    needs("h2load")
    body = directory / "request"
    body.write_bytes(message)
    command = ("h2load", "-n", str(calls), "-d", str(body), *GRPC, *options, target)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert f"{calls} succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
    assert f"status codes: {calls} 2xx" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("-c1", "-m1"), ("-c4", "-m16"), ("-c16", "-m64"), ("-c2", "-m16", "-w8", "-W16")],
    ids=" ".join,
)
def test_thousands_of_calls_of_h2load_are_all_decided(start: Start, tmp_path: Path, options: Sequence[str]) -> None:
    calls = 3000 if "-m1" not in options else 500
    sidecar = start(overload=PATIENT)
    h2load(url(sidecar.address), framed(PLAIN), tmp_path, calls, *options)
    # h2load looks at HTTP's status only.
    assert sidecar.server.info.describe().counters.decisions == calls


def test_calls_of_h2load_over_tls_are_all_answered(secured: Secured, tmp_path: Path) -> None:
    h2load(url(secured.address, scheme="https"), framed(PLAIN), tmp_path, 1000, "-c4", "-m16")

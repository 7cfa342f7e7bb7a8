"""Command-line clients in Go: grpcurl (grpc-go, with reflection) and buf (connect-go, over Go's own HTTP/2)."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Secured, Sidecar, Start
from tests.clients.programs import PATIENCE_S, PROTO

SERVICE = "router.v1.RouterService"
PLAIN = {"text": "what is the capital of a small country"}
UNKNOWN_POLICY = {"text": "x", "policy_name": "günstig 100% 安い"}
UNKNOWN_WORDS = "policy_name: no policy is called 'günstig 100% 安い'"
INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 3, 4, 8
MEGABYTE = 1_000_000
# grpcurl ends with this and the gRPC status.
FAILED = 64


def tool(name: str) -> str:
    """A program that a package of this environment brought."""
    path = Path(sys.executable).with_name(name)
    if not path.is_file():
        pytest.skip(f"not in this environment: {name}")
    return str(path)


def messages(*texts: str) -> str:
    """Messages of a stream; an empty text is no valid request."""
    return "\n".join(json.dumps({"sequence": n, "request": {"text": text}}) for n, text in enumerate(texts, 1))


def ended(command: Sequence[str], said: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, input=said, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def documents(text: str) -> list[Any]:
    """JSON values that follow on one another."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        found.append(value)
        place += len(text[place:]) - len(text[place:].lstrip())
    return found


def grpcurl(address: str, *words: str, said: Any = None, options: Sequence[str] = ("-plaintext",)) -> Any:
    data = () if said is None else ("-d", "@")
    text = said if isinstance(said, str) else json.dumps(said)
    always = ("-format-error", "-max-msg-sz", str(64 << 20), "-max-time", str(PATIENCE_S))
    return ended((tool("grpcurl"), *always, *options, *data, address, *words), "" if said is None else text)


def test_reflection_lists_the_services_and_describes_them(sidecar: Sidecar) -> None:
    assert SERVICE in grpcurl(sidecar.address, "list").stdout.split()
    methods = grpcurl(sidecar.address, "list", SERVICE).stdout.split()
    assert f"{SERVICE}.RouteStream" in methods
    described = grpcurl(sidecar.address, "describe", SERVICE).stdout
    assert "rpc RouteStream ( stream .router.v1.RouteStreamRequest )" in described
    assert "uint32 prompt_tokens = 5" in grpcurl(sidecar.address, "describe", "router.v1.RouteRequest").stdout


def test_grpcurl_calls_by_reflection(sidecar: Sidecar) -> None:
    done = grpcurl(sidecar.address, f"{SERVICE}/Route", said=PLAIN)
    assert json.loads(done.stdout)["model"] in {"small", "medium", "large"}


def test_grpcurl_streams_both_ways(sidecar: Sidecar) -> None:
    done = grpcurl(sidecar.address, f"{SERVICE}/RouteStream", said=messages("one", "", "three"))
    replies = documents(done.stdout)
    assert [reply["sequence"] for reply in replies] == ["1", "2", "3"]
    assert replies[1]["result"]["error"]["code"] == INVALID_ARGUMENT


def test_grpcurl_shows_errors_with_words_and_trailers(sidecar: Sidecar, start: Start) -> None:
    done = grpcurl(sidecar.address, f"{SERVICE}/Route", said=UNKNOWN_POLICY)
    assert done.returncode == FAILED + INVALID_ARGUMENT
    assert json.loads(done.stderr)["message"].startswith(UNKNOWN_WORDS)
    narrow, three = start(max_batch_items=2).address, {"requests": [PLAIN] * 3}
    done = grpcurl(narrow, f"{SERVICE}/RouteBatch", said=three, options=("-plaintext", "-v"))
    assert done.returncode == FAILED + RESOURCE_EXHAUSTED
    assert "grpc-retry-pushback-ms: -1" in done.stdout


def test_grpcurl_gives_up_at_its_deadline_and_the_sidecar_serves_on(sidecar: Sidecar) -> None:
    schema = ("-import-path", str(PROTO), "-proto", "router/v1/router.proto")
    call = (tool("grpcurl"), "-plaintext", *schema, "-max-time", "1", "-d", json.dumps(PLAIN))
    hold = sidecar.hold()
    done = ended((*call, sidecar.address, f"{SERVICE}/Route"))
    assert done.returncode == FAILED + DEADLINE_EXCEEDED
    hold.release()
    assert grpcurl(sidecar.address, f"{SERVICE}/Route", said=PLAIN).returncode == 0


@pytest.mark.slow
def test_grpcurl_sends_and_takes_megabytes(start: Start) -> None:
    address = start(max_batch_items=5000).address
    text = "kitchen " * (3 << 17)
    done = grpcurl(address, f"{SERVICE}/Route", said={"text": text})
    assert json.loads(done.stdout)["prompt_tokens"] == len(text) // 4
    done = grpcurl(address, f"{SERVICE}/RouteBatch", said={"requests": [PLAIN] * 5000})
    assert len(json.loads(done.stdout)["results"]) == 5000


def test_grpcurl_checks_the_certificate(secured: Secured) -> None:
    good = grpcurl(secured.address, f"{SERVICE}/Route", said=PLAIN, options=("-cacert", str(secured.ca)))
    assert json.loads(good.stdout)["model"]
    foreign = ("-cacert", str(secured.foreign_ca), "-connect-timeout", "2")
    bad = grpcurl(secured.address, f"{SERVICE}/Route", said=PLAIN, options=foreign)
    assert bad.returncode != 0
    assert "certificate" in bad.stderr


def buf(address: str, method: str, said: str, *options: str) -> Any:
    security, scheme = (options, "https") if options else (("--http2-prior-knowledge",), "http")
    schema = ("--schema", str(PROTO))
    url = f"{scheme}://{address}/{SERVICE}/{method}"
    return ended((tool("buf"), "curl", "--protocol", "grpc", *schema, *security, "-d", "@-", url), said)


def test_buf_calls_and_streams(sidecar: Sidecar) -> None:
    assert json.loads(buf(sidecar.address, "Route", json.dumps(PLAIN)).stdout)["model"]
    replies = documents(buf(sidecar.address, "RouteStream", messages("one", "", "three")).stdout)
    assert [reply["sequence"] for reply in replies] == ["1", "2", "3"]
    assert replies[1]["result"]["error"]["code"] == INVALID_ARGUMENT


def test_buf_calls_by_reflection(sidecar: Sidecar) -> None:
    call = ("curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", json.dumps(PLAIN))
    done = ended((tool("buf"), *call, f"http://{sidecar.address}/{SERVICE}/Route"))
    assert json.loads(done.stdout)["model"]


def test_buf_shows_the_words_of_an_error(sidecar: Sidecar) -> None:
    error = json.loads(buf(sidecar.address, "Route", json.dumps(UNKNOWN_POLICY)).stderr)
    assert error["code"] == "invalid_argument"
    assert error["message"].startswith(UNKNOWN_WORDS)


@pytest.mark.slow
def test_buf_sends_and_takes_megabytes_over_tls(start: Start, secured: Secured) -> None:
    text = "kitchen " * (3 << 17)
    done = buf(secured.address, "Route", json.dumps({"text": text}), "--cacert", str(secured.ca))
    assert json.loads(done.stdout)["promptTokens"] == len(text) // 4
    done = buf(start(max_batch_items=5000).address, "RouteBatch", json.dumps({"requests": [PLAIN] * 5000}))
    assert len(json.loads(done.stdout)["results"]) == 5000
    assert len(done.stdout) > MEGABYTE

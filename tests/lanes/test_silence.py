"""Neither prompts nor tokens get into errors and logs, whatever goes wrong."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.config import Config
from sidecar.door.settings import LimitsConfig
from sidecar.door.tokens import Role, mint
from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc
from tests.lanes.conftest import Running, Start

MARK = "zanzibar"
PROMPT = f"what is the capital of {MARK}"
TOKEN = f"rs_{MARK}"
SERVICE = "/router.v1.RouterService"
MALFORMED = pb.RouteRequest(text=PROMPT).SerializeToString() + b"\x0a\xff"
NOT_UTF8 = b"\x0a" + bytes([len(MARK) + 1]) + MARK.encode() + b"\xff"


def turn(**fields: Any) -> pb.RouteRequest:
    return pb.RouteRequest(messages=[pb.ChatMessage(**fields)])


BAD_REQUESTS = {
    "both": pb.RouteRequest(text=PROMPT, messages=[pb.ChatMessage(role="user", content=PROMPT)]),
    "role": turn(role="robot", content=PROMPT),
    "parts": turn(role="user", content=PROMPT, parts=[pb.ContentPart(text=PROMPT)]),
    "policy": pb.RouteRequest(text=PROMPT, policy_name="none"),
    "constraints": pb.RouteRequest(text=PROMPT, constraints=pb.Constraints(min_quality=1.0)),
    "candidate": pb.RouteRequest(text=PROMPT, constraints=pb.Constraints(deny=["nobody"])),
    "segment": pb.RouteRequest(text=PROMPT, segment="s" * 300),
    "output": pb.RouteRequest(text=PROMPT, max_output_tokens=0),
    "no user": turn(role="system", content=PROMPT),
    "oversize": pb.RouteRequest(text=PROMPT * 1000),
}


class Caller:
    """Makes calls that fail, and keeps all that was said about them."""

    def __init__(self, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], timeout_s: float = 20.0) -> None:
        self._timeout_s = timeout_s
        self._channel = channel
        self._metadata = metadata
        self._stub: Any = rpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
        self.said: list[str] = []

    def fails(self, call: Callable[..., Any], request: Any, metadata: Any = None) -> None:
        try:
            replies = call(request, timeout=self._timeout_s, metadata=metadata or self._metadata)
            self.said.append(str(replies if not isinstance(replies, grpc.Call) else list(replies)))  # type: ignore[call-overload]
        except grpc.RpcError as error:
            self.said.append(f"{error.code()} {error.details()} {error.debug_error_string()}")  # type: ignore[attr-defined]

    def make_every_error(self) -> None:
        for request in (*BAD_REQUESTS.values(), pb.RouteRequest(text=f"poison {PROMPT}")):
            self.fails(self._stub.Route, request)
        small = [request for name, request in BAD_REQUESTS.items() if name != "oversize"]
        self.fails(self._stub.RouteBatch, pb.RouteBatchRequest(requests=small))
        self.fails(self._stub.RouteBatch, pb.RouteBatchRequest(requests=small * 3))
        self.fails(self._stub.RouteStream, iter([pb.RouteStreamRequest(request=request) for request in small]))
        for method in ("Route", "RouteBatch"):
            raw: Any = self._channel.unary_unary(f"{SERVICE}/{method}")
            self.fails(raw, MALFORMED)
            self.fails(raw, NOT_UTF8)
        stream: Any = self._channel.stream_stream(f"{SERVICE}/RouteStream")
        self.fails(stream, iter([MALFORMED, NOT_UTF8]))
        good = pb.RouteRequest(text=PROMPT)
        for authorization in (f"Bearer {TOKEN}", f"Basic {TOKEN}", TOKEN, f"Bearer {MARK * 1000}"):
            self.fails(self._stub.Route, good, (("authorization", authorization),))
            self.fails(self._stub.Info, pb.InfoRequest(), (("authorization", authorization),))
        guess: Any = self._channel.unary_unary(f"{SERVICE}/Guess")
        self.fails(guess, PROMPT.encode())


@pytest.fixture
def token(tmp_path: Path) -> tuple[Path, str]:
    minted = mint("test", [Role.ROUTE])
    file = tmp_path / "tokens.toml"
    file.write_text(minted.lines)
    return file, minted.token


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def silent(said: list[str]) -> bool:
    assert all(said)
    return not any(MARK in words.lower() for words in said)


def test_errors_and_logs_hold_no_prompt_and_no_token(
    start: Start,
    transport: str,
    token: tuple[Path, str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    file, shown = token
    limits = LimitsConfig(max_metadata_bytes=4096)
    running = start(transport, tokens=str(file), max_message_bytes=8192, max_batch_items=20, limits=limits)
    caller = Caller(running.channel, bearer(shown))
    caller.make_every_error()
    codes = " ".join(caller.said)
    for code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNIMPLEMENTED"):
        assert code in codes
    assert "DEGRADED" in caplog.text
    assert silent([*caller.said, caplog.text])
    assert shown not in f"{caller.said}{caplog.text}"
    assert MARK not in "".join(capfd.readouterr()).lower()


@pytest.mark.parametrize("place", ["intake", "scoring", "encoding", "delivering"])
def test_a_fault_that_quotes_the_prompt_is_logged_without_it(
    start: Start, transport: str, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    running = start(transport)
    break_at(running, place)
    # On the portable transport a call whose answer is lost ends at its deadline.
    caller = Caller(running.channel, (), timeout_s=0.5 if place == "delivering" else 20.0)
    caller.fails(running.stub.Route, pb.RouteRequest(text=PROMPT))
    caller.fails(running.stub.RouteBatch, pb.RouteBatchRequest(requests=[pb.RouteRequest(text=PROMPT)]))
    assert "Error" in caplog.text or "DEGRADED" in caplog.text
    assert silent([*caller.said, running.stub.Info(pb.InfoRequest(), timeout=10).degraded or "-", caplog.text])


def break_at(running: Running, place: str) -> None:
    def quote(*_: Any) -> Any:
        raise ValueError(PROMPT)

    services: Any = running.server.services
    if place == "intake":
        services.engine.intake = quote
    elif place == "scoring":
        services.engine._router._score = quote
    elif place == "encoding":
        services.engine._replies.encode = quote
    else:
        services.batcher._answer = quote


def test_the_program_itself_says_nothing_either(tiny_bundle: Path, token: tuple[Path, str], transport: str) -> None:
    file, shown = token
    config = file.with_name("router.toml")
    config.write_text(
        f'bundle = "{tiny_bundle}"\nlisten = "127.0.0.1:0"\ntransport = "{transport}"\ntokens = "{file}"\n'
        "max_message_bytes = 8192\nmax_batch_items = 20\n[limits]\nmax_metadata_bytes = 4096\n"
    )
    command = [sys.executable, "-m", "sidecar.cli", "serve", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(line for line in process.stderr if line.startswith("listening on ")).split()[2]
        with grpc.insecure_channel(address) as channel:
            caller = Caller(channel, bearer(shown))
            caller.make_every_error()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "DEGRADED" in said
    assert silent([said, *caller.said])
    assert shown not in said


def test_the_configuration_that_is_shown_holds_paths_only(token: tuple[Path, str]) -> None:
    file, shown = token
    assert shown not in repr(Config(tokens=str(file)))

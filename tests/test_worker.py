import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.bundle.embedded import DEFAULT_BUNDLE
from sidecar.bundle.registry import POINTER
from sidecar.bundle.verify import verify
from sidecar.config import CandidateConfig, Config
from sidecar.control import CONFIG, CONFIG_FAULT, SOCKET
from sidecar.control.messages import Done, Happened, Prepare, Result, Sample, State, Switch, Target
from sidecar.control.workers import Worker as Connected
from sidecar.control.workers import Workers
from sidecar.fleet.regions import FLEET, Shared
from sidecar.wire import bundle_pb2, bundle_pb2_grpc, router_pb2_grpc
from sidecar.wire import router_pb2 as pb
from sidecar.worker import ENOUGH_FOR_P99, _own_choice, _weighted_p99
from tests.conftest import MakeBundle
from tests.faults.models import SLOW, waits_at_words

PATIENCE_S = 60.0
CANDIDATES = tuple(CandidateConfig(name=name) for name in ("small", "medium", "large"))


def target(registry: Path, name: str) -> Target:
    manifest, digest = verify(registry / name)
    return Target(str(registry / name), f"{manifest.name} {manifest.version}", digest)


class Process:
    """A real worker; the test is its control process."""

    def __init__(self, config: Config, runtime: Path, listen: str) -> None:
        (runtime / CONFIG).write_bytes(msgspec.json.encode(config))
        # The supervisor's part; a second process of one test finds it there.
        self._shared = None if (runtime / FLEET).exists() else Shared(config, 1, runtime)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar.worker", "0", str(runtime), listen],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.channel = grpc.insecure_channel(listen)
        self.stub: Any = router_pb2_grpc.RouterServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.bundles: Any = bundle_pb2_grpc.BundleServiceStub(self.channel)  # type: ignore[no-untyped-call]

    def said(self) -> dict[str, str]:
        assert self.process.stdout is not None
        said: dict[str, str] = json.loads(self.process.stdout.readline())
        return said

    def version(self) -> str:
        reply = self.stub.Route(pb.RouteRequest(text="rice"), timeout=PATIENCE_S, wait_for_ready=True)
        return str(reply.bundle_version)

    def close(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait(PATIENCE_S)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        if self._shared:
            self._shared.close()


@pytest.fixture
def start(registry: Path, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> Any:
    """Starts a worker; `start(transport="http2")`."""
    started: list[Process] = []

    def start(**settings: Any) -> Process:
        given = {"registry": str(registry), "candidates": CANDIDATES, "drain_seconds": 5.0, **settings}
        started.append(Process(Config(**given), tmp_path, f"127.0.0.1:{unused_tcp_port_factory()}"))
        return started[-1]

    yield start
    for one in started:
        one.close()


@asynccontextmanager
async def controlled(
    start: Any, runtime: Path, state: State, **settings: Any
) -> AsyncIterator[tuple[Process, Connected]]:
    """A worker that is told to run this state, and our end of its link."""

    async def operate(message: Any) -> Result:
        return Result(message.id, "ABORTED", "said the test")

    workers = Workers(lambda _hello: state, operate)
    server = await asyncio.start_unix_server(workers.serve, runtime / SOCKET)
    process = start(**settings)
    said = await asyncio.to_thread(process.said)
    assert "error" not in said
    (connected,) = workers
    yield process, connected
    process.process.terminate()
    await asyncio.to_thread(process.process.wait, PATIENCE_S)
    while len(workers):  # noqa: ASYNC110 - it notices by itself
        await asyncio.sleep(0.005)
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.01)


async def ask(worker: Connected, kind: Any, *given: Any) -> Done:
    return await worker.ask(lambda number: kind(number, *given), PATIENCE_S)


async def test_it_runs_what_it_is_told_to(start: Any, tmp_path: Path, registry: Path) -> None:
    state = State(target(registry, "v2"), target(registry, "v1"))
    async with controlled(start, tmp_path, state) as (process, connected):
        assert await asyncio.to_thread(process.version) == "2"
        assert (await ask(connected, Sample, 0)).state == state


async def test_it_prepares_then_switches_and_forgets_what_is_no_more_in_the_state(
    start: Any, tmp_path: Path, registry: Path
) -> None:
    one, two, three = (target(registry, name) for name in ("v1", "v2", "v3"))
    async with controlled(start, tmp_path, State(one)) as (process, connected):
        unprepared = await ask(connected, Switch, State(two, one), 5.0)
        assert "is not prepared" in unprepared.error
        assert unprepared.state == State(one)
        assert not (await ask(connected, Prepare, two)).error
        assert await asyncio.to_thread(process.version) == "1"
        assert (await ask(connected, Switch, State(two, one), 5.0)).state == State(two, one)
        assert await asyncio.to_thread(process.version) == "2"
        # The one before is warm: no preparation is needed to go back.
        assert not (await ask(connected, Switch, State(one, two), 5.0)).error
        assert not (await ask(connected, Prepare, three)).error
        # The answer to a Switch to what runs is what a failed activation is forgotten with.
        assert not (await ask(connected, Switch, State(one, two), 5.0)).error
        assert "is not prepared" in (await ask(connected, Switch, State(three, one), 5.0)).error
        assert await asyncio.to_thread(process.version) == "1"


async def test_a_bundle_that_is_another_than_was_checked_is_not_prepared(
    start: Any, tmp_path: Path, registry: Path
) -> None:
    two = target(registry, "v2")
    async with controlled(start, tmp_path, State(target(registry, "v1"))) as (_, connected):
        wrong = Target(two.directory, two.version, "00" * 32)
        assert "another bundle" in (await ask(connected, Prepare, wrong)).error
        (registry / "v2" / "model.onnx").write_bytes(b"spoilt")
        assert "model.onnx" in (await ask(connected, Prepare, two)).error


async def test_a_canary_gets_its_share_and_survives_a_restart(start: Any, tmp_path: Path, registry: Path) -> None:
    one, two = target(registry, "v1"), target(registry, "v2")
    state = State(one, None, two, 0.5)
    async with controlled(start, tmp_path, state) as (process, connected):
        assert (await ask(connected, Sample, 0)).state == state
        versions = {
            process.stub.Route(pb.RouteRequest(text="rice", session_id=str(number)), timeout=PATIENCE_S).bundle_version
            for number in range(40)
        }
        assert versions == {"1", "2"}
        assert not (await ask(connected, Switch, State(one), 5.0)).error
        assert process.version() == "1"


async def test_its_latest_requests_can_be_had_and_its_p99_is_told(start: Any, tmp_path: Path, registry: Path) -> None:
    one, two = target(registry, "v1"), target(registry, "v2")
    async with controlled(start, tmp_path, State(one)) as (process, connected):
        for number in range(ENOUGH_FOR_P99 + 20):
            process.stub.Route(pb.RouteRequest(text=f"rice {number}", segment="s"), timeout=PATIENCE_S)
        done = await ask(connected, Sample, 3)
        last = ENOUGH_FOR_P99 + 19
        assert [each.text for each in done.sample] == [f"rice {number}" for number in range(last - 2, last + 1)]
        assert (await ask(connected, Sample, 0)).sample == ()
        await ask(connected, Prepare, two)
        before, during = (await ask(connected, Switch, State(two, one), 5.0)).p99_s
        assert before > 0.0
        assert during == 0.0


async def test_operations_and_events_go_through_it(start: Any, tmp_path: Path, registry: Path) -> None:
    state = State(target(registry, "v1"))
    async with controlled(start, tmp_path, state) as (process, connected):
        watch = process.bundles.WatchBundles(bundle_pb2.WatchBundlesRequest(), timeout=PATIENCE_S)
        assert (await asyncio.to_thread(next, watch)).state.running.directory == "v1"
        connected.tell(Happened(1.0, "REFUSED", "words", state))
        assert (await asyncio.to_thread(next, watch)).message == "words"
        call = process.bundles.RollbackBundle.future(bundle_pb2.RollbackBundleRequest(), timeout=PATIENCE_S)
        error = await asyncio.to_thread(call.exception)
        assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "said the test")
        process.process.terminate()
        assert await asyncio.to_thread(lambda: list(watch)) == []  # a drain ends watches


async def test_what_it_serves_is_told_every_second_and_at_its_end(start: Any, tmp_path: Path, registry: Path) -> None:
    async with controlled(start, tmp_path, State(target(registry, "v1"))) as (process, connected):
        await asyncio.to_thread(process.version)
        while connected.beat.stats.versions.get("tiny 1") != (1, 0, 1):  # noqa: ASYNC110 - it comes over a socket
            await asyncio.sleep(0.01)
        assert connected.beat.stats.window == {"": (1, 0)}
        await asyncio.to_thread(process.version)
        process.process.terminate()
        await asyncio.to_thread(process.process.wait, PATIENCE_S)
        await asyncio.wait_for(connected._gone.wait(), PATIENCE_S)
        stats = connected.beat.stats
        assert stats.versions["tiny 1"] == (2, 0, 1)  # the same text again needs no run of the model
        assert (stats.cache_hits, stats.cache_misses, stats.cache_evictions) == (1, 1, 0)
        assert stats.cache_bytes > 0


# --- alone -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_without_a_control_process_it_serves_what_the_pointer_names(start: Any, registry: Path, transport: str) -> None:
    (registry / POINTER).write_text("v3\n")
    process = start(transport=transport)
    said = process.said()
    assert (said["running"], said["transport"], said["fault"]) == ("tiny 3", transport, "")
    assert process.version() == "3"


def test_it_ends_with_its_supervisor(start: Any) -> None:
    process = start()
    process.said()
    process.process.stdin.close()
    assert process.process.wait(PATIENCE_S) == 0


def test_sigterm_before_it_serves_ends_it_once_it_does(start: Any) -> None:
    process = start()
    status = Path(f"/proc/{process.process.pid}/status")
    while not int(re.findall(r"SigCgt:\t(\w+)", status.read_text())[0], 16) & 1 << signal.SIGTERM - 1:
        assert process.process.poll() is None  # its handler is not there yet
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(PATIENCE_S) == 0


def test_a_second_sigterm_does_not_cut_short_what_it_still_answers(
    start: Any, make_bundle: MakeBundle, registry: Path
) -> None:
    make_bundle(registry / "slow", model=waits_at_words, version="slow")
    (registry / POINTER).write_text("slow\n")
    process = start()
    process.said()
    process.version()
    call = process.stub.Route.future(pb.RouteRequest(text=f"what is {SLOW}"), timeout=PATIENCE_S)
    process.stub.Info(pb.InfoRequest(), timeout=PATIENCE_S)  # over the same connection, so the call has arrived
    for _ in range(20):
        process.process.send_signal(signal.SIGTERM)
    assert call.result().bundle_version == "slow"
    assert process.process.wait(PATIENCE_S) == 0


def test_one_that_cannot_serve_says_why_and_ends(start: Any, registry: Path) -> None:
    process = start(candidates=(CandidateConfig(name="huge"),), safe_candidate="huge")
    assert "huge" in process.said()["error"]
    assert process.process.wait(PATIENCE_S) == CONFIG_FAULT
    del registry


def test_one_whose_provider_is_demanded_and_absent_says_so_and_ends(start: Any, registry: Path) -> None:
    process = start(provider="cuda")
    assert "provider: cuda is demanded" in process.said()["error"]
    assert process.process.wait(PATIENCE_S) == CONFIG_FAULT
    del registry


def test_a_spoilt_bundle_is_its_fault_and_it_serves(start: Any, registry: Path) -> None:
    (registry / "v1" / "model.onnx").write_bytes(b"spoilt")
    process = start(safe_candidate="large")
    said = process.said()
    assert said["running"] == ""
    assert "model.onnx" in said["fault"]
    assert process.version() == ""
    assert "model.onnx" in process.stub.Info(pb.InfoRequest(), timeout=PATIENCE_S).degraded


def test_on_its_own_it_takes_what_is_configured(registry: Path) -> None:
    assert _own_choice(Config(bundle="/somewhere")) == Path("/somewhere")
    assert _own_choice(Config()) == DEFAULT_BUNDLE
    assert _own_choice(Config(registry=str(registry))) == registry / "v1"
    for content in ("v9\n", "..\n"):
        (registry / POINTER).write_text(content)
        assert _own_choice(Config(registry=str(registry))) == DEFAULT_BUNDLE
    (registry / POINTER).unlink()
    assert _own_choice(Config(registry=str(registry))) == DEFAULT_BUNDLE


# --- p99 -------------------------------------------------------------------------------------------------------------

batches = st.lists(st.tuples(st.floats(0.0, 10.0), st.integers(1, 32)), min_size=1, max_size=300)


@given(batches)
def test_the_p99_of_batches_is_that_of_their_requests(found: list[tuple[float, int]]) -> None:
    each = np.repeat([seconds for seconds, _ in found], [size for _, size in found])
    p99 = _weighted_p99(found)
    if len(each) < ENOUGH_FOR_P99:
        assert p99 == 0.0
    else:
        assert (each <= p99).mean() >= 0.99
        assert (each < p99).mean() < 0.99
        assert p99 in each


def test_of_nothing_there_is_no_p99() -> None:
    assert _weighted_p99([]) == 0.0

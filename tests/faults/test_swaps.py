import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import msgspec
import psutil
import pytest

from sidecar.bundle.registry import Registry
from sidecar.bundle.trial import TrialReport, TrialRequest
from sidecar.bundle.verify import verify
from sidecar.config import Config
from sidecar.control import CONFIG, SOCKET
from sidecar.control.messages import Activate, Target
from sidecar.control.swap import Swap
from sidecar.fleet.regions import Shared
from sidecar.settings import GateConfig
from sidecar.wire import bundle_pb2
from tests.conftest import MakeBundle
from tests.faults.conftest import StartSidecar
from tests.faults.sidecars import Call, Load, until
from tests.lanes.conftest import TRANSPORTS

SWAPS, EARLY = 200, 10


def rollback(sidecar: Any) -> Any:
    return sidecar.bundles.RollbackBundle(bundle_pb2.RollbackBundleRequest(), timeout=60)


class Acknowledged:
    """Which version ran from when on: the switch to it began, and was acknowledged."""

    def __init__(self, version: str) -> None:
        self._switches = [(0.0, 0.0, version)]

    def switch(self, began: float, version: str) -> None:
        self._switches.append((began, time.monotonic(), version))

    def wrong(self, calls: list[Call]) -> list[Call]:
        """Calls that were scored by a version that was not in force at any time while they lasted."""
        return [call for call in calls if call.version not in self._in_force(call)]

    def _in_force(self, call: Call) -> set[str]:
        last = max(at for at, (_, acknowledged, _) in enumerate(self._switches) if acknowledged <= call.began)
        return {version for began, _, version in self._switches[last:] if began <= call.ended}


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_bundles_change_under_load_without_a_failed_call_or_an_old_answer(serve: StartSidecar, transport: str) -> None:
    sidecar = serve(2, transport)
    until(lambda: sidecar.all_connected(2))
    acknowledged = Acknowledged("1")
    # The order of the calls in the list is that of their ends.
    with Load(sidecar, retries=False) as load:
        for directory in ("v2", "v3", "v1", "", ""):
            began = time.monotonic()
            reply = sidecar.activate(directory) if directory else rollback(sidecar)
            acknowledged.switch(began, reply.state.running.directory[1:])
            load.more(30)
    assert reply.state.running.directory == "v1"
    assert load.failed == {}
    assert acknowledged.wrong(load.calls) == []
    assert {call.version for call in load.calls} == {"1", "2", "3"}


def test_the_pointer_file_is_followed_and_written(serve: StartSidecar, registry: Path) -> None:
    sidecar = serve(2)
    watch = sidecar.bundles.WatchBundles(bundle_pb2.WatchBundlesRequest(), timeout=60)
    assert next(watch).event == bundle_pb2.BUNDLE_EVENT_SNAPSHOT
    (registry / "next").write_text("v2")
    (registry / "next").replace(registry / "active")
    told = next(watch)
    assert (told.event, told.state.running.directory) == (bundle_pb2.BUNDLE_EVENT_ACTIVATED, "v2")
    assert {sidecar.version_anywhere() for _ in range(10)} == {"2"}
    sidecar.activate("v3")
    assert (registry / "active").read_text() == "v3\n"
    rollback(sidecar)
    assert (registry / "active").read_text() == "v2\n"
    events = [next(watch).event for _ in range(2)]
    # Each happened once: what was asked for by a call is not done again when the pointer file is looked at.
    assert events == [bundle_pb2.BUNDLE_EVENT_ACTIVATED, bundle_pb2.BUNDLE_EVENT_ROLLED_BACK]
    watch.cancel()


@pytest.mark.slow
def test_a_bundle_that_is_copied_while_the_pointer_names_it_runs_when_it_is_whole_and_not_before(
    serve: StartSidecar, versions: Path, registry: Path
) -> None:
    sidecar = serve(1)
    whole, half = versions / "v2", registry / "half"
    half.mkdir()
    (registry / "active").write_text("half\n")
    sidecar.said("the pointer file is not followed")
    with Load(sidecar) as load:
        for name in ("manifest.json", "model.onnx", "tokenizer.json", "reference.npz"):
            since = len(sidecar.lines)
            shutil.copy(whole / name, half / name)
            os.utime(registry / "active")
            sidecar.said("the pointer file is not followed", since)
            load.more()
        assert {call.version for call in load.calls} == {"1"}
        shutil.copy(whole / "golden.json", half / "golden.json")
        os.utime(registry / "active")
        sidecar.said("ACTIVATED: half, tiny 2 (the pointer file)")
        assert sidecar.version() == "2"
    assert load.failed == {}


@pytest.mark.slow
def test_a_canary_gets_its_share_and_is_promoted_or_ended(serve: StartSidecar) -> None:
    sidecar = serve(2)
    until(lambda: sidecar.all_connected(2))
    with Load(sidecar) as load:
        state = sidecar.activate("v2", canary_share=0.5).state
        assert (state.running.directory, state.canary.directory, state.canary_share) == ("v1", "v2", 0.5)
        began = time.monotonic()
        load.more(300)
        later = [call.version for call in load.calls if call.began > began]
        assert 0.3 < later.count("2") / len(later) < 0.7
        assert rollback(sidecar).state.running.directory == "v1"
        assert not sidecar.list().state.HasField("canary")
        sidecar.activate("v2", canary_share=0.01)
        sidecar.activate("v2")
        began = time.monotonic()
        load.more()
        assert {call.version for call in load.calls if call.began > began} == {"2"}
    assert load.failed == {}


@pytest.mark.slow
def test_one_worker_that_cannot_load_a_bundle_keeps_it_from_all(
    serve: StartSidecar, make_bundle: MakeBundle, registry: Path
) -> None:
    sidecar = serve(3)
    until(lambda: sidecar.all_connected(3))
    # One worker may open no more files: it serves on, but can load nothing. Nor can it accept connections, so all of the
    # load's are made before.
    victim = sidecar.workers()[1]
    soft, hard = victim.rlimit(psutil.RLIMIT_NOFILE)
    sidecar.version()
    with Load(sidecar) as load:
        load.more()
        victim.rlimit(psutil.RLIMIT_NOFILE, (3, hard))
        with pytest.raises(grpc.RpcError) as caught:
            sidecar.activate("v2")
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert "cannot load" in (caught.value.details() or "")
        load.more()
        assert {call.version for call in load.calls} == {"1"}
        victim.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
        sidecar.activate("v2")
    assert load.failed == {}
    assert {sidecar.version_anywhere() for _ in range(10)} == {"2"}


@asynccontextmanager
async def workers_of(swap: Swap, config: Config, runtime: Path, count: int, listen: str) -> AsyncIterator[None]:
    """Real workers, whose control process is the test itself."""
    (runtime / CONFIG).write_bytes(msgspec.json.encode(config))
    shared = Shared(config, count, runtime)
    server = await asyncio.start_unix_server(swap.workers.serve, runtime / SOCKET)
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar.worker", str(number), str(runtime), listen),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert b'"running"' in await asyncio.wait_for(process.stdout.readline(), 60)
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            await asyncio.wait_for(process.wait(), 60)
        server.close()
        await server.wait_closed()
        shared.close()


def sound(request: TrialRequest, _limits: GateConfig) -> TrialReport:
    """A gate that tries nothing, since 200 trials take minutes; the trial has its own tests."""
    return TrialReport(
        name="",
        version="",
        manifest_sha256=verify(Path(request.directory))[1],
        vouched=(),
        load_seconds=0.0,
        resident_bytes=0,
        microseconds_per_text=0.0,
    )


@pytest.mark.slow
async def test_two_hundred_swaps_leave_no_failed_call_no_old_answer_and_no_memory_behind(
    registry: Path, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    config = Config(registry=str(registry), transport="http2", drain_seconds=5.0)
    swap = Swap(config, Registry(registry), Target(str(registry / "v1")), gate=sound)
    listen = f"127.0.0.1:{unused_tcp_port_factory()}"
    acknowledged = Acknowledged("1")
    async with workers_of(swap, config, tmp_path, 2, listen):
        client: Any = SimpleNamespace(connect=lambda options: grpc.insecure_channel(listen, options=options))
        load = await asyncio.to_thread(Load(client, clients=2, retries=False).__enter__)
        resident: list[list[int]] = []
        try:
            for number in range(SWAPS):
                # In turn, so that each is neither running nor kept warm, but loaded anew.
                version = "231"[number % 3]
                began = time.monotonic()
                result = await swap.activate(Activate(f"v{version}"), "the test")
                acknowledged.switch(began, version)
                assert result.workers == 2
                if number + 1 in (EARLY, SWAPS):
                    await asyncio.to_thread(load.more, 100)
                    resident.append([psutil.Process(worker.pid).memory_info().rss for worker in swap.workers])
        finally:
            await asyncio.to_thread(load.__exit__)
        assert load.failed == {}
        assert acknowledged.wrong(load.calls) == []
        assert {call.version for call in load.calls} == {"1", "2", "3"}
        early, late = resident
        assert all(after <= 1.1 * before for before, after in zip(early, late, strict=True)), resident

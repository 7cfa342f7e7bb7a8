import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from sidecar.bundle.registry import POINTER
from sidecar.config import CandidateConfig, Config
from sidecar.control import CONFIG, CONFIG_FAULT, SOCKET
from sidecar.control.messages import BEAT_S, Activate, Beat, ListBundles, Operate, Result, State, Target
from sidecar.control.process import Control, watch
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.regions import FLEET
from sidecar.fleet.settings import BreakerConfig, FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.settings import GateConfig
from sidecar.stats import Stats
from tests.bundle.test_trial import endless
from tests.conftest import MakeBundle
from tests.control.conftest import target
from tests.control.workers import FakeWorker, served
from tests.fleet.stage import Clock, Worker, priors_of


class Desk:
    def __init__(self, control: Control) -> None:
        self.control = control
        self.path = Path()
        self.fakes: list[FakeWorker] = []

    async def join(self, state: State | None = None) -> FakeWorker:
        self.fakes.append(FakeWorker(len(self.fakes), state))
        return await self.fakes[-1].connect(self.path)

    async def tick(self, later_s: float = 0.0) -> None:
        """One tick, and all that it sets off."""
        await self.control.tick(asyncio.get_running_loop().time() + later_s)
        await asyncio.gather(*self.control._tasks)


@pytest.fixture
async def desk(registry: Path, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(Control(Config(registry=str(registry), hang_seconds=10.0), Path("/embedded")))
    async with served(desk.control.swap.workers, tmp_path, desk.fakes) as desk.path:
        yield desk


async def test_the_first_worker_is_told_to_run_what_the_pointer_names(desk: Desk, registry: Path) -> None:
    worker = await desk.join()
    assert worker.greeting == State(Target(str(registry / "v1")))


async def test_which_bundle_it_is_that_was_loaded_at_the_start_is_soon_known_to_metrics(tmp_path: Path) -> None:
    desk = Desk(Control(Config(), Path("/embedded")))
    running = Target("/embedded", "tiny 1", "d" * 64)
    async with served(desk.control.swap.workers, tmp_path, desk.fakes) as desk.path:
        worker = await desk.join()
        worker.state = State(running)
        await desk.tick()
        await desk.tick()
    assert desk.control.metrics.state.running == running


async def test_a_candidate_that_fails_is_told_of_in_the_log_though_nobody_asks_for_metrics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = FleetTable.create(tmp_path / FLEET, 6, 32)
    clock = Clock(time.monotonic())
    config = Config(candidates=(CandidateConfig(name="small", model="acme/small-1"),))
    desk = Desk(Control(config, Path("/embedded")))
    desk.control.fleet = watch(config, tmp_path)
    worker = Worker(table, 0, priors_of(["acme/small-1"]), clock)
    for _ in range(BreakerConfig().consecutive_errors):
        worker.hear(worker.decide(0), Outcome(Fault.SERVER))
    worker.look()
    await desk.tick()
    table.close()
    assert "small fails and is left alone" in caplog.text
    assert watch(Config(fleet=FleetConfig(enabled=False)), tmp_path) is None


@pytest.mark.parametrize("content", [None, "v9\n", "../v1\n"])
def test_without_a_pointer_that_can_be_followed_the_first_bundle_runs(registry: Path, content: str | None) -> None:
    (registry / POINTER).unlink()
    if content is not None:
        (registry / POINTER).write_text(content)
    control = Control(Config(registry=str(registry)), Path("/embedded"))
    assert control.swap._first == Target("/embedded")


async def test_a_tick_tells_what_is_served(desk: Desk) -> None:
    worker = await desk.join(State(target(Path(desk.control._config.registry), "v1")))
    worker.send(Beat(0.0, Stats(invalid=3)))
    while desk.control.metrics.stats.invalid != 3:
        await desk.tick()
    assert desk.control.metrics.workers == 1
    assert desk.control.metrics.state == worker.state


async def test_the_pointer_is_looked_at_only_when_it_was_touched(desk: Desk, registry: Path) -> None:
    worker = await desk.join(State(target(registry, "v1")))
    (registry / POINTER).write_text("v9\n")
    for _ in range(3):
        await desk.tick()
    assert desk.control.swap.counts == {"REFUSED": 1}
    os.utime(registry / POINTER)
    await desk.tick()
    assert desk.control.swap.counts == {"REFUSED": 2}
    assert worker.kinds() == []


async def test_the_pointer_waits_for_the_first_worker(desk: Desk, registry: Path) -> None:
    (registry / POINTER).write_text("v9\n")
    await desk.tick()
    assert desk.control.swap.counts == {}
    await desk.join(State(target(registry, "v1")))
    await desk.tick()
    assert desk.control.swap.counts == {"REFUSED": 1}


async def test_workers_out_of_line_are_brought_back(desk: Desk, registry: Path) -> None:
    one, two = target(registry, "v1"), target(registry, "v2")
    await desk.join(State(one))
    astray = await desk.join(State(two, one))
    await desk.tick()
    assert astray.state == State(one)


async def test_whoever_is_stuck_or_silent_is_killed_and_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, well = await desk.join(), await desk.join()
    killed: list[int] = []

    def kill(pid: int, _number: int) -> None:
        killed.append(pid)
        next(fake for fake in desk.fakes if fake.pid == pid).die()

    monkeypatch.setattr(os, "kill", kill)
    stuck.send(Beat(11.0, Stats(invalid=1)))
    well.send(Beat(9.0, Stats(invalid=1)))
    while desk.control.swap.workers.share().invalid != 2:  # noqa: ASYNC110 - it comes over a socket
        await asyncio.sleep(0.001)
    await desk.tick()
    assert killed == [stuck.pid]
    await desk.tick(10.0 + 2 * BEAT_S + 0.5)
    assert killed == [stuck.pid, well.pid]
    assert desk.control.metrics.stuck == 2


# --- as a process ----------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Starts the control process of a configuration; gives it and the first line it says."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**settings: Any) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
        (tmp_path / CONFIG).write_bytes(msgspec.json.encode(Config(**settings)))
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar.control.process", str(tmp_path), "/embedded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.wait(30)
        process.stdin.close()  # type: ignore[union-attr]
        process.stdout.close()  # type: ignore[union-attr]


def test_it_ends_at_once_when_it_is_told_to(start: Any) -> None:
    process, said = start()
    assert said == {}
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


async def test_it_ends_at_once_though_a_trial_is_under_way(
    start: Any, make_bundle: MakeBundle, registry: Path, tmp_path: Path
) -> None:
    make_bundle(registry / "endless", model=endless())
    process, _ = start(registry=str(registry), gate=GateConfig(seconds=300.0, cpu_seconds=300))
    worker = await FakeWorker(0, State(target(registry, "v1"))).connect(tmp_path / SOCKET)
    worker.send(Operate(1, Activate("endless")))
    while not (trials := psutil.Process(process.pid).children()):  # noqa: ASYNC110 - a process
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 30) == 0
    _, alive = psutil.wait_procs(trials, 30)
    assert alive == []  # the trial dies with it
    await worker.end()


def test_it_ends_with_its_supervisor(start: Any) -> None:
    process, _ = start()
    process.stdin.close()
    assert process.wait(30) == 0


def test_it_leaves_sigint_to_the_supervisor(start: Any) -> None:
    process, _ = start()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_it_says_what_is_wrong_with_the_configuration(start: Any, unused_tcp_port_factory: Callable[[], int]) -> None:
    address = f"127.0.0.1:{unused_tcp_port_factory()}"
    start(metrics=address)
    process, said = start(metrics=address)
    assert said["error"].startswith(f"metrics: cannot bind '{address}'")
    assert process.wait(30) == CONFIG_FAULT


async def test_a_worker_finds_it_at_its_socket(start: Any, tmp_path: Path, registry: Path) -> None:
    process, _ = start(registry=str(registry))
    worker = await FakeWorker(0, State(target(registry, "v1"))).connect(tmp_path / SOCKET)
    worker.send(Operate(1, ListBundles()))
    (result,) = await worker.until(lambda: [message for message in worker.told if isinstance(message, Result)])
    assert [row.directory for row in result.listed] == ["v1", "v2", "v3"]
    await worker.end()
    assert psutil.Process(process.pid).is_running()

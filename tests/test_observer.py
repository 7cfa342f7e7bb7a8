import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from sidecar.config import CandidateConfig, Config
from sidecar.control import CONFIG, CONFIG_FAULT, OBSERVER, frames
from sidecar.control.observed import Seen
from sidecar.fleet.regions import Shared
from sidecar.fleet.sources.settings import TelemetryConfig
from sidecar.fleet.telemetry import Telemetry
from sidecar.observer import Observer
from tests.faults.sidecars import Sidecar, until
from tests.fleet.sources import expositions
from tests.fleet.sources.model_server import ModelServer
from tests.waiting import PATIENCE_S
from tests.waiting import until as come_true


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(expositions.vllm(3.0)) as server:
        yield server


def config_of(server: ModelServer, **more: Any) -> Config:
    telemetry = TelemetryConfig(
        engine="vllm", urls=(server.url,), interval_seconds=0.02, timeout_seconds=PATIENCE_S, **more
    )
    return Config(candidates=(CandidateConfig(name="small", telemetry=telemetry),)).checked()


class Running:
    """An observer in this process."""

    def __init__(self, directory: Path, config: Config, **more: Any) -> None:
        self.published: list[tuple[str, Telemetry]] = []
        self.observer = Observer(
            config, [lambda name, seen: self.published.append((name, seen))], tell_s=0.02, again_s=0.02, **more
        )
        self.stop = asyncio.Event()
        self.task = asyncio.ensure_future(self.observer.run(directory / OBSERVER, self.stop))

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await self.task
        await asyncio.sleep(0)


class Importer:
    """Stands for work in a thread, such as the ledger's importer."""

    def __init__(self, fails: int = 0) -> None:
        self.begun = 0
        self.brought_to_an_end = False
        self._fails = fails

    def run(self, stop: threading.Event) -> None:
        self.begun += 1
        if self.begun <= self._fails:
            raise RuntimeError("out of order")
        stop.wait(PATIENCE_S)
        self.brought_to_an_end = stop.is_set()


async def test_what_is_scraped_is_published(tmp_path: Path, server: ModelServer) -> None:
    running = Running(tmp_path, config_of(server))
    await come_true(lambda: len(running.published) > 2)
    await running.end()
    name, seen = running.published[-1]
    assert (name, seen.running) == ("small", 3.0)
    assert running.observer.seen().tallies[0].ok == len(running.published)


async def test_the_control_process_is_told_also_after_it_was_away(tmp_path: Path, server: ModelServer) -> None:
    running = Running(tmp_path, config_of(server))
    decoder = msgspec.msgpack.Decoder(Seen)
    for _ in range(2):
        heard: asyncio.Queue[Seen] = asyncio.Queue()

        over, gone = asyncio.Event(), asyncio.Event()

        async def hear(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            heard: "asyncio.Queue[Seen]" = heard,
            over: asyncio.Event = over,
            gone: asyncio.Event = gone,
        ) -> None:
            while not over.is_set():
                heard.put_nowait(await frames.read(reader, decoder))
            writer.close()
            await writer.wait_closed()
            gone.set()

        control = await asyncio.start_unix_server(hear, tmp_path / OBSERVER)
        async with asyncio.timeout(PATIENCE_S):
            while not (told := await heard.get()).tallies[0].ok:
                pass
            over.set()
            await gone.wait()
        control.close()
        assert told.telemetry["small"].running == 3.0
        (tmp_path / OBSERVER).unlink()
    await running.end()


async def test_work_runs_beside_it_and_is_brought_to_an_end(tmp_path: Path, server: ModelServer) -> None:
    importer = Importer()
    running = Running(tmp_path, config_of(server), works=[importer])
    await come_true(lambda: importer.begun == 1 and bool(running.published))
    await running.end()
    assert importer.brought_to_an_end


async def test_work_that_fails_is_begun_again_and_disturbs_no_source(
    tmp_path: Path, server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    importer = Importer(fails=2)
    running = Running(tmp_path, config_of(server), works=[importer])
    await come_true(lambda: importer.begun == 3)
    published = len(running.published)
    await come_true(lambda: len(running.published) > published)
    await running.end()
    assert "Importer failed and is begun again" in caplog.text
    assert importer.brought_to_an_end


async def test_a_source_that_fails_unforeseen_is_begun_again(
    tmp_path: Path, server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(tmp_path, config_of(server))
    published, fails = running.observer._publish, [True]

    def fail_once(_name: str, _seen: Telemetry) -> None:
        if fails:
            fails.pop()
            raise RuntimeError("the table is full")

    running.observer._publish = (fail_once, *published)
    await come_true(lambda: len(running.published) > 1)
    await running.end()
    assert "a source of telemetry failed and is begun again" in caplog.text


# --- the process -----------------------------------------------------------------------------------------------------


class Process:
    def __init__(self, directory: Path, config: Config) -> None:
        (directory / CONFIG).write_bytes(msgspec.json.encode(config))
        self._shared = Shared(config, 1, directory)  # the supervisor's part
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar.observer", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.said = json.loads(self.process.stdout.readline())

    def end(self) -> int:
        self.process.communicate(timeout=PATIENCE_S)
        self._shared.close()
        return self.process.returncode


def test_sigterm_ends_the_process_in_good_order(tmp_path: Path, server: ModelServer) -> None:
    process = Process(tmp_path, config_of(server))
    assert process.said == {}
    until(lambda: server.paths)
    process.process.send_signal(signal.SIGTERM)
    assert process.end() == 0


def test_the_process_ends_with_the_supervisor(tmp_path: Path, server: ModelServer) -> None:
    process = Process(tmp_path, config_of(server))
    assert process.process.stdin is not None
    process.process.stdin.close()
    process.process.stdin = None
    assert process.end() == 0


def test_what_it_cannot_do_it_says(tmp_path: Path, server: ModelServer) -> None:
    process = Process(tmp_path, config_of(server, ca_file=str(tmp_path / "none.pem")))
    assert "ca_file" in process.said["error"]
    assert process.end() == CONFIG_FAULT


# --- the whole -------------------------------------------------------------------------------------------------------

WITH_TELEMETRY = """
workers = 1
metrics = "{metrics}"
[[candidates]]
name = "small"
{telemetry}
[[candidates]]
name = "large"
"""
TELEMETRY = """
[candidates.telemetry]
engine = "vllm"
urls = ["{url}"]
interval_seconds = 0.05
"""


def observers(sidecar: Sidecar) -> list[psutil.Process]:
    return sidecar._children("sidecar.observer")


def _are(sidecar: Sidecar, amount: int) -> bool:
    return len(observers(sidecar)) == amount


def scraped(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as reply:
        return str(reply.read().decode())


@pytest.mark.slow
def test_a_killed_observer_is_started_again_and_the_workers_do_not_notice(
    tmp_path: Path, server: ModelServer, tiny_bundle: Path, unused_tcp_port: int
) -> None:
    metrics = f"127.0.0.1:{unused_tcp_port}"
    path = tmp_path / "router.toml"
    path.write_text(WITH_TELEMETRY.format(metrics=metrics, telemetry=TELEMETRY.format(url=server.url)))
    with ExitStack() as ending:
        sidecar = Sidecar(path, "--bundle", str(tiny_bundle))
        ending.callback(sidecar.close)
        (first,) = observers(sidecar)
        workers = {worker.pid for worker in sidecar.workers()}
        until(lambda: 'router_telemetry{candidate="small",figure="running"} 3.0' in scraped(metrics))
        os.kill(first.pid, signal.SIGKILL)
        sidecar.said("observer (")
        assert sidecar.version() == "1"
        (second,) = until(lambda: [one for one in observers(sidecar) if one.pid != first.pid])
        server.body = expositions.vllm(8.0)
        until(lambda: 'router_telemetry{candidate="small",figure="running"} 8.0' in scraped(metrics))
        assert {worker.pid for worker in sidecar.workers()} == workers
        sidecar.process.terminate()
        assert sidecar.end() == 0
        assert not psutil.pid_exists(second.pid)


@pytest.mark.slow
def test_sighup_starts_and_ends_the_observer_as_there_is_something_to_observe(
    tmp_path: Path, server: ModelServer, tiny_bundle: Path, unused_tcp_port: int
) -> None:
    path = tmp_path / "router.toml"
    without = WITH_TELEMETRY.format(metrics="", telemetry="")
    path.write_text(without)
    with ExitStack() as ending:
        sidecar = Sidecar(path, "--bundle", str(tiny_bundle))
        ending.callback(sidecar.close)
        assert observers(sidecar) == []
        wrong = TELEMETRY.format(url=server.url) + f'ca_file = "{tmp_path}/none.pem"\n'
        steps = ((TELEMETRY.format(url=server.url), 1, "replaced"), (wrong, 1, "runs on"), ("", 0, "replaced"))
        for telemetry, amount, words in steps:
            path.write_text(WITH_TELEMETRY.format(metrics="", telemetry=telemetry))
            lines = len(sidecar.lines)
            sidecar.process.send_signal(signal.SIGHUP)
            sidecar.said(words, lines)
            until(partial(_are, sidecar, amount))
            if amount:
                until(lambda: server.paths)  # it was at work before it is killed
            for observer in observers(sidecar):  # it is kept alive, however it came
                observer.kill()
                observer.wait(PATIENCE_S)
            until(partial(_are, sidecar, amount))
        assert sidecar.version() == "1"
        sidecar.process.terminate()
        assert sidecar.end() == 0

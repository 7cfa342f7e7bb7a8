"""Swaps over workers that do as they are told."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.bundle.registry import POINTER, Registry
from sidecar.bundle.trial import TrialReport, TrialRequest
from sidecar.bundle.verify import verify
from sidecar.config import Config
from sidecar.control.messages import (
    Activate,
    Done,
    Operate,
    Operation,
    Result,
    State,
    Target,
)
from sidecar.control.swap import Swap
from sidecar.errors import BundleError
from sidecar.settings import GateConfig
from tests.control.workers import FakeWorker, served


def target(registry: Path, name: str) -> Target:
    manifest, digest = verify(registry / name)
    return Target(str(registry / name), f"{manifest.name} {manifest.version}", digest)


class Gate:
    """Passes everything, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[TrialRequest, GateConfig]] = []
        self.refusal = ""

    def __call__(self, request: TrialRequest, limits: GateConfig) -> TrialReport:
        self.asked.append((request, limits))
        if self.refusal:
            raise BundleError(self.refusal)
        return TrialReport(
            name="tiny",
            version="",
            manifest_sha256=verify(Path(request.directory))[1],
            vouched=(),
            load_seconds=0.0,
            resident_bytes=0,
            microseconds_per_text=0.0,
        )


class Scene:
    """A Swap with a registry, and workers that connect to it.

    Attributes:
        killed: pids of the workers that were killed; they are gone then.
    """

    def __init__(self, registry: Path, config: Config) -> None:
        self.registry = registry
        self.gate = Gate()
        self.swap = Swap(config, Registry(registry), Target(str(registry / "v1")), gate=self.gate)
        self.one, self.two, self.three = (target(registry, name) for name in ("v1", "v2", "v3"))
        self.workers: list[FakeWorker] = []
        self.killed: list[int] = []
        self.path = Path()

    async def join(self, state: State | None = None) -> FakeWorker:
        worker = FakeWorker(len(self.workers), state)
        self.workers.append(worker)
        await worker.connect(self.path)
        if worker.state.running and not worker.state.running.digest:  # as a real one: now it is loaded
            worker._run(State(self.one))
        return worker

    def kill(self, pid: int, _number: int) -> None:
        self.killed.append(pid)
        for worker in self.workers:
            if worker.pid == pid:
                worker.die()

    @property
    def pointer(self) -> str:
        return (self.registry / POINTER).read_text().strip()

    async def do(self, operation: Operation) -> Result:
        return await self.swap.operate(Operate(9, operation))

    async def activate(self, name: str, share: float | None = None) -> Result:
        result = await self.do(Activate(name, share))
        assert (result.status, result.error, result.id) == ("OK", "", 9)
        return result

    def run_all(self) -> list[str]:
        """Versions that the workers run."""
        return [worker.state.running.version if worker.state.running else "" for worker in self.workers]


@pytest.fixture
async def scene(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    scene = Scene(registry, Config(registry=str(registry)))
    monkeypatch.setattr(os, "kill", scene.kill)
    async with served(scene.swap.workers, tmp_path, scene.workers) as scene.path:
        yield scene


def refuse(error: str) -> Callable[[Any], Done]:
    return lambda command: Done(command.id, error)

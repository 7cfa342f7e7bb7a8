"""A device that is none: the executor of GPUs over the CPU provider, which can be made to fail or to hang."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sidecar.bundle import encoder
from sidecar.bundle.manifest import MODEL_FP16
from sidecar.bundle.verify import Verified
from sidecar.scoring.bucketed import Bucketed
from sidecar.scoring.buckets import Buckets
from sidecar.scoring.memory import HostMemory
from sidecar.scoring.pace import Limits
from sidecar.scoring.providers import Choice
from sidecar.scoring.ragged import Outputs, Rows
from sidecar.scoring.session import Session, opened

PROVIDER = "StandInExecutionProvider"
PATIENCE_S = 30.0


class DeviceFault(RuntimeError):
    """What a broken device raises."""


class StandIn:
    """One device.

    Attributes:
        bucketed: the executor.
        warmed: shapes that were warmed, and in which thread.
        ran: rows of each run.
        failing: whether runs raise.
        blocked: a run waits until it is set.
        entered: set by each run when it begins.
    """

    def __init__(self, bucketed: Bucketed) -> None:
        self.bucketed = bucketed
        self.warmed: dict[tuple[int, int], str] = {}
        self.ran: list[int] = []
        self.failing = False
        self.blocked = threading.Event()
        self.blocked.set()
        self.entered = threading.Event()

    def warm(self) -> Iterator[tuple[int, int]]:
        for shape in self.bucketed.warm():
            self.warmed[shape] = threading.current_thread().name
            yield shape

    def __call__(self, rows: Rows) -> Outputs:
        self.ran.append(len(rows))
        self.entered.set()
        assert self.blocked.wait(PATIENCE_S)
        if self.failing:
            raise DeviceFault("the device is gone, and with it: secret prompt")
        return self.bucketed(rows)


class Devices:
    """Stands in for GPUs while it is installed.

    Attributes:
        opened: all devices so far.
        broken: whether no further one can be had.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, demanded: bool = False) -> None:
        self.opened: list[StandIn] = []
        self.broken = False
        choice = Choice(PROVIDER, demanded=demanded, reason="a test")
        monkeypatch.setattr(encoder, "choose", lambda *_: choice)
        monkeypatch.setattr(encoder, "open_device", self._open)

    @property
    def last(self) -> StandIn:
        return self.opened[-1]

    def _open(
        self, verified: Verified, _choice: Choice, limits: Limits, like: Session, *, width: int, last_id: int
    ) -> Any:
        if self.broken:
            raise DeviceFault("there is none")
        path = verified.directory / MODEL_FP16
        candidates = len(verified.manifest.candidates)
        bucketed = Bucketed(
            lambda batch, tokens, _graphs: opened(
                path, dimensions=dict(zip(like.dimensions, (batch, tokens), strict=True))
            ),
            Buckets.up_to(limits.rows, verified.manifest.tokenizer.max_tokens),
            (candidates, width, candidates),
            HostMemory(),
            pad_id=verified.manifest.tokenizer.pad_id,
            last_id=last_id,
            graphs=True,
        )
        self.opened.append(StandIn(bucketed))
        return self.last


def until(what: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    """Waits until something is so."""
    pause = threading.Event()
    for _ in range(int(patience_s / 0.005)):
        if what():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come about in time")

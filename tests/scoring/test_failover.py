import gc
import logging
import weakref

import numpy as np
import pytest

from sidecar.scoring.failover import Failover
from sidecar.scoring.pace import Limits, Pace
from sidecar.scoring.placement import Placement
from sidecar.scoring.providers import CPU
from sidecar.scoring.ragged import Outputs, Rows
from tests.standin import PROVIDER, DeviceFault, until

PROMPT = "what a user asked"


class Run:
    """Gives its own number for every row; raises while it is told to."""

    def __init__(self, number: float) -> None:
        self.number = number
        self.failing = False
        self.ran = 0

    def __call__(self, rows: Rows) -> Outputs:
        self.ran += 1
        if self.failing:
            raise DeviceFault(PROMPT)
        values = np.full((len(rows), 1), self.number, np.float32)
        return values, values, values


class Bench:
    """A device, a CPU behind it, and another device for later."""

    def __init__(self, first_delay_s: float = 0.001) -> None:
        self.device, self.cpu, self.next = Run(1.0), Run(2.0), Run(3.0)
        self.absent = False
        self.tries = 0
        self.placement = Placement(PROVIDER)
        self.pace = Pace(Limits(32, 0.025))
        self.run = Failover(self.device, self.cpu, self._revive, self.placement, self.pace, first_delay_s)

    def _revive(self) -> Run:
        self.tries += 1
        if self.absent:
            raise DeviceFault("none")
        return self.next

    def number(self) -> float:
        return float(self.run([[1], [2]])[0][1, 0])


def test_the_device_runs_while_it_works() -> None:
    bench = Bench()
    assert bench.number() == 1.0
    assert bench.cpu.ran == 0
    assert (bench.placement.execution_provider, bench.placement.fault) == (PROVIDER, "")


def test_the_batch_in_which_it_fails_is_run_on_the_cpu_and_so_are_later_ones(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(first_delay_s=60.0)
    bench.device.failing = True
    bench.pace.learn(1, 1, 5.0)
    with caplog.at_level(logging.ERROR):
        assert [bench.number() for _ in range(3)] == [2.0, 2.0, 2.0]
    assert bench.device.ran == 1
    placement = bench.placement
    assert (placement.execution_provider, placement.faults) == (CPU, 1)
    assert "DeviceFault" in placement.fault
    assert "DeviceFault" in caplog.text
    assert PROMPT not in caplog.text + placement.fault
    assert bench.pace.rows == 32  # what was learned of the device says nothing of the CPU


def test_rows_on_which_both_fail_are_to_blame_and_not_the_device() -> None:
    bench = Bench()
    bench.device.failing = bench.cpu.failing = True
    with pytest.raises(DeviceFault):
        bench.number()
    bench.device.failing = False
    assert bench.number() == 1.0
    assert bench.placement.faults == 0


def test_a_device_that_comes_back_takes_over_again() -> None:
    bench = Bench()
    bench.device.failing = bench.absent = True
    assert bench.number() == 2.0
    until(lambda: bench.tries >= 3)
    assert bench.number() == 2.0
    bench.absent = False
    until(lambda: bench.placement.execution_provider == PROVIDER)
    assert bench.number() == 3.0
    assert (bench.placement.fault, bench.placement.faults) == ("", 1)


def test_who_is_let_go_is_not_revived() -> None:
    bench = Bench()
    bench.device.failing = bench.absent = True
    bench.number()
    gone = weakref.ref(bench.run)
    del bench.run
    until(lambda: gc.collect() >= 0 and gone() is None)

"""Sidecars that decide at the same time, of numbers that are 200 ms old."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.fleet.chooser import assign
from tests.fleet.peers.group import Board, Shifted, Sidecar
from tests.fleet.stage import Clock, Worker, priors_of
from tests.fleet.test_view import NAMES, SERVICE, SLOTS, ideal

INTERVAL_S = 0.2
REQUESTS = 1000
STEPS = 20


class Storm:
    """Some sidecars, each of which makes its part of all decisions and exchanges at a time of its own."""

    def __init__(self, directory: Path, clock: Clock, loads: tuple[int, ...], workers: int) -> None:
        priors = priors_of(NAMES, per_token=0.0, slots=SLOTS.tolist())._replace(first_token_seconds=SERVICE)
        board = Board(clock)
        amount = len(loads)
        self.clock, self.loads = clock, loads
        self.sidecars = [
            Sidecar(directory / str(at), board, Shifted(clock, 1000.0 * at), priors, workers=workers)
            for at in range(amount)
        ]
        self._due = [clock.now + 0.2 + INTERVAL_S * at / amount for at in range(amount)]

    def pass_time(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end - 1e-9:
            self.clock.now += 0.01
            for at, sidecar in enumerate(self.sidecars):
                sidecar.peers.tick()
                if self.clock.now >= self._due[at]:
                    self._due[at] += INTERVAL_S
                    sidecar.talk()

    def calm(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Three seconds of some traffic, in the parts that the storm will have; gives the calls at each candidate."""
        before = np.zeros(len(NAMES))
        for turn in range(60):
            for sidecar, load in zip(self.sidecars, self.loads, strict=True):
                for number in range(load):
                    candidate = (0, 0, 1, 3)[(turn + number) % 4]
                    decide(sidecar.workers[number % len(sidecar.workers)], [candidate])
                    before[candidate] += 1.0
            self.pass_time(0.05)
        return before

    def break_loose(self, seconds: float) -> Counter[int]:
        """All requests; gives how many went to each candidate. In each step all read before any of them decides."""
        left = {
            worker: round(REQUESTS * load / sum(self.loads) / len(sidecar.workers))
            for sidecar, load in zip(self.sidecars, self.loads, strict=True)
            for worker in sidecar.workers
        }
        sizes = {worker: -(-amount // STEPS) for worker, amount in left.items()}
        split: Counter[int] = Counter()
        while any(left.values()):
            if seconds:
                self.pass_time(seconds / STEPS)
            else:
                self.clock.now += 0.006  # what a worker needs for a batch at full load
            reads = {worker: worker.read() for worker in left}
            for worker, fleet in reads.items():
                amount = min(sizes[worker], left[worker])
                left[worker] -= amount
                chosen = assign(fleet._replace(first_token_seconds=np.zeros(len(NAMES))), amount)
                decide(worker, chosen)
                split.update(chosen)
        return split


def decide(worker: Worker, chosen: list[int]) -> None:
    for candidate in chosen:
        worker.decide(candidate, seconds=600.0)
    worker.live.publish(worker.clock.now)


@pytest.mark.parametrize("loads", [(1, 1, 1), (4, 2, 1)], ids=["alike", "unlike"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seconds", [0.0, 0.3], ids=["at once", "over two exchanges"])
def test_no_herd_forms_among_sidecars(
    tmp_path: Path, clock: Clock, loads: tuple[int, ...], workers: int, seconds: float
) -> None:
    storm = Storm(tmp_path, clock, loads, workers)
    best = ideal(storm.calm(), REQUESTS)
    split = storm.break_loose(seconds)
    assert abs(sum(split.values()) - REQUESTS) < 6  # parts are rounded
    for candidate in range(len(NAMES)):
        assert abs(split[candidate] - best[candidate]) <= 0.1 * best[candidate] + 1, (split, best)
    for sidecar in storm.sidecars:
        sidecar.close()

"""Sidecars that decide at the same time, of numbers that are 200 ms old."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.fleet.chooser import assign
from tests.fleet.peers.group import Board, Shifted, Sidecar
from tests.fleet.stage import Clock, priors_of
from tests.fleet.test_view import NAMES, SERVICE, SLOTS, ideal

INTERVAL_S = 0.2
REQUESTS = 1000


@pytest.mark.parametrize("loads", [(1, 1, 1), (4, 2, 1)], ids=["alike", "unlike"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("burst_s", [0.0, 0.3], ids=["at once", "over two exchanges"])
def test_no_herd_forms_among_sidecars(
    tmp_path: Path, clock: Clock, loads: tuple[int, ...], workers: int, burst_s: float
) -> None:
    priors = priors_of(NAMES, per_token=0.0, slots=SLOTS.tolist())._replace(first_token_seconds=SERVICE)
    board = Board(clock)
    sidecars = [
        Sidecar(tmp_path / str(at), board, Shifted(clock, 1000.0 * at), priors, workers=workers)
        for at in range(len(loads))
    ]
    # Before: 3 seconds of some traffic, its parts as those of the burst; each exchanges at a time of its own.
    before = np.zeros(4)
    due = [clock.now + 0.2 + INTERVAL_S * at / len(loads) for at in range(len(loads))]

    def pass_time(seconds: float) -> None:
        end = clock.now + seconds
        while clock.now < end - 1e-9:
            clock.now += 0.01
            for at, sidecar in enumerate(sidecars):
                sidecar.peers.tick()
                if clock.now >= due[at]:
                    due[at] += INTERVAL_S
                    sidecar.talk()

    for turn in range(60):
        for sidecar, load in zip(sidecars, loads, strict=True):
            for number in range(load):
                worker = sidecar.workers[number % workers]
                candidate = (0, 0, 1, 3)[(turn + number) % 4]
                worker.decide(candidate, seconds=600.0)
                before[candidate] += 1.0
                worker.live.publish(sidecar.clock.now)
        pass_time(0.05)
    best = ideal(before, REQUESTS)
    lots = [load / sum(loads) * REQUESTS for load in loads]
    split: Counter[int] = Counter()
    left = [[round(lot / workers) for _ in range(workers)] for lot in lots]
    steps = 20
    sizes = [[-(-amount // steps) for amount in amounts] for amounts in left]
    while any(map(sum, left)):
        pass_time(burst_s / steps)
        clock.now += 0.006 if not burst_s else 0.0
        reads = [[worker.read() for worker in sidecar.workers] for sidecar in sidecars]
        for at, sidecar in enumerate(sidecars):
            for number, worker in enumerate(sidecar.workers):
                amount = min(sizes[at][number], left[at][number])
                left[at][number] -= amount
                fleet = reads[at][number]._replace(first_token_seconds=np.zeros(4))
                for candidate in assign(fleet, amount):
                    worker.decide(candidate, seconds=600.0)
                    split[candidate] += 1
                worker.live.publish(sidecar.clock.now)
    assert abs(sum(split.values()) - REQUESTS) < 6  # parts are rounded
    for candidate in range(4):
        assert abs(split[candidate] - best[candidate]) <= 0.1 * best[candidate] + 1, (split, best)
    for sidecar in sidecars:
        sidecar.close()

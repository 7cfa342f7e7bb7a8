import os
from pathlib import Path

from benchmarks import ceiling
from benchmarks.cores import PINNABLE
from sidecar.bundle.manifest import MODEL

ROWS = [[2, 3], [4], [5, 6, 7]]


def test_each_core_has_a_process_of_its_own_and_all_measure_at_the_same_time(tiny_bundle: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2] if PINNABLE else [0, 1]
    shares = ceiling.on_each_core(tiny_bundle / MODEL, ROWS, 0.2, cores)
    assert len(shares) == len(cores)
    for share in shares:
        assert share.times
        assert sum(share.times) < 0.2 + max(share.times)
        assert 0.0 < share.busy_s <= sum(share.times) + 1.0

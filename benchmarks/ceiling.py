"""What a machine's cores give at best: a plain session on each of them, one request after the other, and nothing else.

No gRPC, no queue, no decision and nobody who sends anything: whatever serves the same model without batches stays under it.
"""

import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cores import PINNABLE
from sidecar.scoring.session import OUTPUTS, opened

WARM_UP_RUNS = 10
START_S = 60.0

_start: Barrier | None = None


class Share(NamedTuple):
    """What one process did.

    Attributes:
        times: seconds of each request.
        busy_s: of processor time.
    """

    times: list[float]
    busy_s: float


def one_by_one(session: Any, rows: Sequence[list[int]], seconds: float, ready: Any = None) -> Share:
    """Runs rows in turn for some seconds, when all others are ready."""
    feeds = [{"input_ids": np.array([row]), "attention_mask": np.ones((1, len(row)), np.int64)} for row in rows]
    for feed in feeds[:WARM_UP_RUNS]:
        session.run(OUTPUTS, feed)
    if ready is not None:
        ready.wait(START_S)
    times: list[float] = []
    busy = time.process_time()
    until = time.perf_counter() + seconds
    while (before := time.perf_counter()) < until:
        session.run(OUTPUTS, feeds[len(times) % len(feeds)])
        times.append(time.perf_counter() - before)
    return Share(times, time.process_time() - busy)


def on_each_core(model: Path, rows: Sequence[list[int]], seconds: float, cores: Sequence[int]) -> list[Share]:
    """Runs a session of one thread on each core at the same time, each in a process of its own.

    Args:
        model: an ONNX file.
        rows: token ids; each process begins elsewhere in them.
        seconds: of the measurement.
        cores: their numbers.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(cores), _await, (context.Barrier(len(cores)),)) as pool:
        shift = len(rows) // len(cores)
        parts = [
            pool.apply_async(_on_core, (model, [*rows[at * shift :], *rows[: at * shift]], seconds, core))
            for at, core in enumerate(cores)
        ]
        return [part.get(seconds + 2 * START_S) for part in parts]


def _await(start: Barrier) -> None:
    global _start  # noqa: PLW0603 - how a pool's process is given what cannot be sent to it later
    _start = start


def _on_core(model: Path, rows: Sequence[list[int]], seconds: float, core: int) -> Share:
    if PINNABLE:
        os.sched_setaffinity(0, {core})
    return one_by_one(opened(model), rows, seconds, _start)

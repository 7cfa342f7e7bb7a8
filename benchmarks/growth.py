"""Does an overload that lasts make a worker's memory grow?"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from benchmarks.flood import flood
from benchmarks.plan import Plan
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.schedule import poisson
from benchmarks.server import Server
from benchmarks.tenants import FLOOD, MOST_TEXTS, segment_requests
from benchmarks.verdict import at_most, verdict
from sidecar.lanes.services import ROUTE

COLUMNS = ("subject", "before_mb", "highest_mb", "last_mb", "ratio", "samples")
# The calls of a run are held in memory here, so a long overload is made of runs, one right after the other.
RUN_S = 3.0
EACH_S = 1.0
TARGET = at_most(1.3)


def growth(plan: Plan, server: Server, offered: float, seconds: float, *, deadline_s: float) -> Section:
    """Resident memory of the workers in MB (10**6 bytes), read every second while calls are offered.

    Args:
        plan: how to measure.
        server: what is loaded.
        offered: calls per second.
        seconds: at least so long.
        deadline_s: of each call.
    """
    section = Section("memory", f"Memory during {seconds:g} s at {offered:,.0f} calls per second", COLUMNS)
    before = server.resident_mb()
    payloads = segment_requests(plan.chars, MOST_TEXTS, plan.seed, FLOOD)
    with sampled(server.resident_mb, EACH_S) as read:
        until = time.perf_counter() + seconds
        run = 0
        while time.perf_counter() < until:
            schedule = poisson(offered, min(RUN_S, seconds), plan.seed + run)
            over = np.arange(len(schedule)) % max(2, plan.connections)
            flood(server.address, ROUTE, schedule, payloads, over, deadline_s=deadline_s, spin_s=plan.spin_s)
            run += 1
    section.rows.append(grown(f"{run} runs of {min(RUN_S, seconds):g} s", before, read))
    return section


def grown(subject: str, before: float, read: Sequence[float]) -> Row:
    """The row of readings.

    Args:
        subject: for the table.
        before: MB before the overload.
        read: MB at each reading.
    """
    highest = max(read, default=before)
    return {
        "subject": subject,
        "before_mb": round(before, 1),
        "highest_mb": round(highest, 1),
        "last_mb": round(read[-1], 1) if read else None,
        "ratio": round(highest / before, 3),
        "samples": len(read),
        "each_mb": [round(value, 1) for value in read],
    }


def growth_verdicts(rows: list[Row]) -> list[Row]:
    """The target of the table `memory`."""
    return [verdict("memory during the overload, highest / before", row["ratio"], TARGET) for row in rows]


@contextmanager
def sampled(read: Callable[[], float], each_s: float) -> Iterator[list[float]]:
    """Reads a figure over and over, in a thread of its own, while the block runs; gives the list that grows."""
    found: list[float] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(each_s):
            found.append(read())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()

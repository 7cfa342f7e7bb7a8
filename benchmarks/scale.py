"""What do two workers carry, beside one?

The target, 1.7x on two cores with the load from elsewhere, needs three cores at least. On two, the load takes its share
of what the second worker would have, so besides the throughput the processor time of a call is told: of the worker, and
of the load. Where that of the worker does not grow with a second one beside it, two cores of workers carry twice as much.
"""

import os
from statistics import median

from benchmarks import h2load
from benchmarks.cores import Cores
from benchmarks.prompts import requests
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.server import UNCACHED, Server, sidecar_command
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_least, verdict
from sidecar.lanes.services import ROUTE

COLUMNS = ("subject", "per_second", "p50_us", "p99_us", "worker_us_per_call", "worker_cores", "errors")
IN_FLIGHT = 64
CONNECTIONS = 16  # which worker gets a connection is chance: more of them are spread more evenly
TARGET = 1.7
ENOUGH_CORES = 3


def scale(where: Cores, seconds: float, rounds: int) -> list[Section]:
    """One worker with a core of its own, one worker and two workers wherever the system puts them; in turn."""
    table = Section("scale", f"One and two workers, h2load, {IN_FLIGHT} in flight, medians of {rounds}", COLUMNS)
    enough = len(os.sched_getaffinity(0)) >= ENOUGH_CORES
    setups: list[tuple[str, int, int | None, int | None]] = [
        ("one worker on a core of its own, load on another", 1, where.server, where.load),
        ("one worker, nobody pinned", 1, None, None),
        ("two workers, nobody pinned", 2, None, None),
    ]
    taken: dict[str, list[Row]] = {subject: [] for subject, *_ in setups}
    for _ in range(rounds):
        for subject, count, server_core, load_core in setups:
            with Server([*sidecar_command(None, config=UNCACHED), "--workers", str(count)], server_core) as server:
                taken[subject].append(_measure(server, seconds, load_core))
    for subject, rows in taken.items():
        middle = {column: round(median(row[column] for row in rows), 2) for column in COLUMNS[1:-1]}
        errors = {name: count for row in rows for name, count in row["errors"].items()}
        table.rows.append({"subject": subject, **middle, "errors": errors})
    return [table, compared(table.rows, enough_cores=enough)]


def compared(rows: list[Row], *, enough_cores: bool) -> Section:
    """Two workers over one; a verdict only where the load has a core beside theirs."""
    section = Section("scale_ratios", "Two workers over one", VERDICT_COLUMNS)
    alone, one, two = rows
    best = max(alone["per_second"], one["per_second"])
    gain, dearer = two["per_second"] / best, two["worker_us_per_call"] / one["worker_us_per_call"]
    section.rows += [
        verdict("throughput, two workers / one", round(gain, 3), at_least(TARGET) if enough_cores else ""),
        verdict("processor time of a call in the worker, two workers / one", round(dearer, 3), ""),
        verdict("single-core ceiling, req/s", round(alone["per_second"]), ""),
    ]
    if not enough_cores:
        section.notes.append(
            f"not judged against >= {TARGET:g}x: the load shares these two cores, and takes what the second worker would "
            f"have. By the worker's processor time alone, two free cores would carry {min(2.0, 2 / dearer):.2f}x; that is an "
            "inference, not a measurement"
        )
    return section


def _measure(server: Server, seconds: float, core: int | None) -> Row:
    payload = requests(200, 1, 1)[0]
    h2load.check_status(server.address, ROUTE, payload)
    shot = h2load.grpc_shot(server.address, ROUTE, payload)
    busy = _busy_s(server)
    row = h2load.run(shot, IN_FLIGHT, seconds, core, CONNECTIONS)
    spent = _busy_s(server) - busy
    whole = max(1, round(seconds)) + h2load.WARM_UP_S
    row["worker_cores"] = spent / whole
    row["worker_us_per_call"] = spent / (row["per_second"] * whole) * 1e6
    return row


def _busy_s(server: Server) -> float:
    return sum(sum(worker.cpu_times()[:2]) for worker in server.workers())

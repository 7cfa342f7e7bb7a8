"""What do two workers carry, beside one?

The target is 1.7x. Where the load has a core beside theirs, that is a matter of throughput. On two cores the load takes its
share of what the second worker would have, so there it is judged by processor time: with a core for each worker, the one
that has more to do sets the pace, so two workers carry

    (processor time of a call with one worker) / (processor time of a call in the busier one of two)

times as much, where the latter counts the calls of both. It is 2 where connections are spread evenly and a call costs no
more than before, and 1 where one worker has all of them.
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

COLUMNS = (
    "subject", "per_second", "p50_us", "p99_us", "worker_us_per_call", "busiest_us_per_call", "worker_cores", "errors",
)  # fmt: skip
IN_FLIGHT = 64
CONNECTIONS = 4  # few, so that it matters which worker gets which
TARGET = 1.7
ENOUGH_CORES = 3


def scale(where: Cores, seconds: float, rounds: int) -> list[Section]:
    """One worker with a core of its own, one worker and two workers wherever the system puts them; in turn."""
    title = f"One and two workers, h2load, {IN_FLIGHT} in flight over {CONNECTIONS} connections, medians of {rounds}"
    table = Section("scale", title, COLUMNS)
    enough = len(os.sched_getaffinity(0)) >= ENOUGH_CORES
    setups: list[tuple[str, int, int | None, int | None]] = [
        ("one worker on a core of its own, load on another", 1, where.server, where.load),
        ("one worker, not pinned", 1, None, None),
        ("two workers, not pinned", 2, None, None),
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
    """Two workers over one: by throughput where the load has a core beside theirs, and by processor time."""
    section = Section("scale_ratios", "Two workers over one", VERDICT_COLUMNS)
    alone, one, two = rows
    best = max(alone["per_second"], one["per_second"])
    gain, dearer = two["per_second"] / best, two["worker_us_per_call"] / one["worker_us_per_call"]
    carried = one["worker_us_per_call"] / two["busiest_us_per_call"]
    section.rows += [
        verdict("throughput, two workers / one", round(gain, 3), at_least(TARGET) if enough_cores else ""),
        verdict("by processor time of the busier worker, two workers / one", round(carried, 3), at_least(TARGET)),
        verdict("processor time of a call in the worker, two workers / one", round(dearer, 3), ""),
        verdict("single-core ceiling, req/s", round(alone["per_second"]), ""),
    ]
    if not enough_cores:
        section.notes.append(
            f"the throughput is not judged against >= {TARGET:g}x: the load shares these two cores, and takes what the second "
            "worker would have. What two free cores would carry by processor time is an inference, not a measurement"
        )
    return section


def _measure(server: Server, seconds: float, core: int | None) -> Row:
    payload = requests(200, 1, 1)[0]
    h2load.check_status(server.address, ROUTE, payload)
    shot = h2load.grpc_shot(server.address, ROUTE, payload)
    before = _busy_s(server)
    row = h2load.run(shot, IN_FLIGHT, seconds, core, CONNECTIONS)
    each = [after - busy for after, busy in zip(_busy_s(server), before, strict=True)]
    spent = sum(each)
    whole = max(1, round(seconds)) + h2load.WARM_UP_S
    row["worker_cores"] = spent / whole
    calls = row["per_second"] * whole
    row["worker_us_per_call"] = spent / calls * 1e6
    row["busiest_us_per_call"] = max(each) / calls * 1e6
    return row


def _busy_s(server: Server) -> list[float]:
    """Processor time of each worker so far."""
    return [sum(worker.cpu_times()[:2]) for worker in sorted(server.workers(), key=lambda worker: worker.pid)]

"""How fast is it with N calls in flight, and how far from a handler that does nothing?"""

import time
from collections.abc import Sequence

from benchmarks.floor import METHOD, TRANSPORTS, command
from benchmarks.offered import closed_loop
from benchmarks.plan import Plan
from benchmarks.report import Section
from benchmarks.samples import Row, Samples, summary
from benchmarks.server import Server
from benchmarks.stages import STAGES, decode, stages
from sidecar.lanes.services import ROUTE

COLUMNS = (
    "subject", "in_flight", "per_second", "p50_us", "p90_us", "p99_us", "p99.9_us",
    "errors", "degraded_share", "cached_share", "mean_batch", "server_cpu",
)  # fmt: skip
STAGE_COLUMNS = ("in_flight", *(f"{stage}_{at}_us" for stage in STAGES for at in ("p50", "p99")), "mean_batch")
GENERATOR_LIMIT = 0.9  # of its core; beyond this the generator is what is measured


def measure(plan: Plan, address: str, method: str, in_flight: int, server: Server | None) -> tuple[Row, Samples]:
    """One closed loop with prompts that were never sent before: its row, and its samples."""
    return measure_with(plan, address, method, in_flight, server, plan.prompts())


def measure_with(
    plan: Plan, address: str, method: str, in_flight: int, server: Server | None, payloads: Sequence[bytes]
) -> tuple[Row, Samples]:
    """The same with these payloads, in turn."""
    client = plan.connect(address, method, in_flight)
    try:
        busy, own, began = (server.cpu_s() if server else 0.0), time.process_time(), time.perf_counter()
        samples = closed_loop(client, payloads, in_flight, plan.seconds, warm_up_s=plan.warm_up_s)
        took = time.perf_counter() - began
    finally:
        client.close()
    row: Row = {"in_flight": in_flight, **summary(samples)}
    row["generator_cpu"] = round((time.process_time() - own) / took, 3)
    if server:
        row["server_cpu"] = round((server.cpu_s() - busy) / took, 3)
    return row, samples


def closed(plan: Plan, target: str, server: Server | None) -> list[Section]:
    """Two tables: the sidecar beside the floors of both transports, and the stages inside the sidecar."""
    loops = Section("closed_loop", f"Closed loop, {plan.chars} characters", COLUMNS)
    inside = Section("stages", "Inside the server (us), from the replies of the same calls", STAGE_COLUMNS)
    for in_flight in plan.concurrency:
        row, samples = measure(plan, target, ROUTE, in_flight, server)
        spent = stages(decode(samples))
        loops.rows.append({"subject": "Route", **row, **spent})
        inside.rows.append({"in_flight": in_flight, **spent})
    for transport in TRANSPORTS:
        with Server(command(transport, plan.floor_bytes), plan.cores.server) as floor:
            for in_flight in plan.concurrency:
                row, _ = measure(plan, floor.address, METHOD, in_flight, floor)
                loops.rows.append({"subject": f"empty handler, {transport}", **row})
    loops.notes += _generator_bound(loops)
    loops.notes += [
        f"Route at {first['in_flight']} in flight: p50 is {first['p50_us'] / row['p50_us']:.2f}x and throughput "
        f"{first['per_second'] / row['per_second']:.2f}x that of the {row['subject']}"
        for row in loops.rows
        for first in loops.rows[: len(plan.concurrency)]
        if row["subject"] != "Route" and row["in_flight"] == first["in_flight"] and _positive(row, first)
    ]
    return [loops, inside]


def _positive(*rows: Row) -> bool:
    return all(row["p50_us"] and row["per_second"] for row in rows)


def _generator_bound(section: Section) -> list[str]:
    return [
        f"{row['subject']} at {row['in_flight']} in flight: the GENERATOR used {row['generator_cpu']} of its core; "
        "the server may be faster than shown (try --driver h2load)"
        for row in section.rows
        if isinstance(row["generator_cpu"], float) and row["generator_cpu"] > GENERATOR_LIMIT
    ]

"""How long do requests queue when they come as traffic comes?"""

import numpy as np

from benchmarks.closed import measure
from benchmarks.load import closed_loop, open_loop
from benchmarks.plan import Plan
from benchmarks.prompts import requests
from benchmarks.report import Section
from benchmarks.samples import Row, fell_behind, lag, summary
from benchmarks.schedule import Seconds, poisson
from benchmarks.server import Server
from benchmarks.stages import decode, queueing_s, stages
from sidecar.lanes.services import ROUTE

QUESTION_RATES = (12.0, 30.0, 300.0, 3000.0)
HALF_OF_PEAK_IN_FLIGHT = 64
# p99 needs a hundred calls; slow rates get the time for two hundred.
CALLS_AT_LEAST = 200
COLUMNS = (
    "subject", "offered_per_second", "per_second", "p50_us", "p90_us", "p99_us", "p99.9_us",
    "queue_p99_us", "queueing_p99_us", "total_p99_us", "lag_p99_us", "errors", "degraded_share", "mean_batch",
)  # fmt: skip


def unloaded(plan: Plan, target: str) -> float:
    """Median seconds of a call when nothing else is in flight."""
    client = plan.connect(target, ROUTE, 1)
    try:
        payloads = plan.prompts(1.0)
        samples = closed_loop(client, payloads, 1, min(1.0, plan.seconds), warm_up_s=plan.warm_up_s)
    finally:
        client.close()
    return float(np.median(samples.latency_s))


def arrive(plan: Plan, target: str, schedule: Seconds, unloaded_s: float) -> tuple[Row, str]:
    """One open loop: its row, and a complaint if the generator fell behind."""
    payloads = requests(plan.chars, len(schedule), plan.seed)
    client = plan.connect(target, ROUTE, plan.connections)
    try:
        closed_loop(client, payloads[:CALLS_AT_LEAST], 1, 0.1, warm_up_s=plan.warm_up_s)
        samples = open_loop(client, schedule, payloads, spin_s=plan.spin_s)
    finally:
        client.close()
    waited = queueing_s(samples, unloaded_s)
    row = {
        **summary(samples),
        **lag(samples),
        **stages(decode(samples)),
        "queueing_p99_us": None if waited is None else round(waited * 1e6, 1),
    }
    return row, fell_behind(samples)


def opened(plan: Plan, target: str, server: Server | None, *, questions: bool) -> Section:
    """Poisson arrivals at each rate, half of peak load, and the trace if there is one."""
    section = Section("open_loop", f"Open loop, {plan.chars} characters, counted from when each call was due", COLUMNS)
    rates = sorted({*plan.rates, *(QUESTION_RATES if questions else ())})
    alone = unloaded(plan, target)
    schedules: list[tuple[str, float | None, Seconds]] = [
        (f"Poisson {rate:g}/s", rate, poisson(rate, max(plan.seconds, CALLS_AT_LEAST / rate), plan.seed))
        for rate in rates
    ]
    if questions:
        peak, _ = measure(plan, target, ROUTE, HALF_OF_PEAK_IN_FLIGHT, server)
        half = peak["per_second"] / 2
        schedules.append((f"half of peak, Poisson {half:.0f}/s", half, poisson(half, plan.seconds, plan.seed)))
    if plan.trace is not None:
        schedules.append((plan.trace_name, None, plan.trace))
    for subject, rate, schedule in schedules:
        row, complaint = arrive(plan, target, schedule, alone)
        section.rows.append({"subject": subject, "rate": rate, **row})
        section.notes += [complaint] if complaint else []
    section.notes += [
        "queue: the server's own stage; queueing: latency beyond that of an unloaded call "
        f"({alone * 1e6:.0f} us), so it also holds the lane, the kernel and the generator's lag",
    ]
    return section

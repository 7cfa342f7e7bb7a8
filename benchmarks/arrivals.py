"""How long do requests queue when they come as traffic comes?"""

from collections.abc import Sequence

import numpy as np

from benchmarks.closed import measure
from benchmarks.offered import closed_loop, open_loop
from benchmarks.plan import Plan
from benchmarks.prompts import requests, salted
from benchmarks.report import Section
from benchmarks.samples import Row, fell_behind, lag, summary
from benchmarks.schedule import Seconds, poisson
from benchmarks.server import Server
from benchmarks.stages import decode, queueing_s, stages, waiting_s
from sidecar.lanes.services import ROUTE

QUESTION_RATES = (12.0, 30.0, 300.0, 3000.0)
HALF_OF_PEAK_IN_FLIGHT = 64
HALF_OF_PEAK = "half of peak"
# The and the design's figures, in microseconds.
MOST_QUEUE_P99, MOST_TOTAL_P50, MOST_TOTAL_P99 = 1000.0, 150.0, 1000.0
# p99 needs a hundred calls; slow rates get the time for two hundred.
CALLS_AT_LEAST = 200
COLUMNS = (
    "subject", "offered_per_second", "per_second", "coverage", "p50_us", "p90_us", "p99_us", "p99.9_us",
    "queue_p99_us", "queueing_p99_us", "total_p99_us", "lag_p99_us", "errors", "cached_share", "mean_batch",
)  # fmt: skip


def unloaded(plan: Plan, target: str) -> float:
    """Median seconds that a call waits (see waiting_s) when nothing else is in flight."""
    client = plan.connect(target, ROUTE, 1)
    try:
        payloads = plan.prompts(1.0)
        samples = closed_loop(client, payloads, 1, min(1.0, plan.seconds), warm_up_s=plan.warm_up_s)
    finally:
        client.close()
    return float(np.median(waiting_s(samples, decode(samples))))


def arrive(plan: Plan, target: str, schedule: Seconds, unloaded_s: float) -> tuple[Row, str]:
    """One open loop: its row, and a complaint if the generator fell behind."""
    payloads = salted(requests(plan.chars, len(schedule), plan.seed))
    client = plan.connect(target, ROUTE, plan.connections)
    try:
        closed_loop(client, plan.prompts(0.1 + plan.warm_up_s), 1, 0.1, warm_up_s=plan.warm_up_s)
        samples = open_loop(client, schedule, payloads, spin_s=plan.spin_s)
    finally:
        client.close()
    replies = decode(samples)
    waited = queueing_s(waiting_s(samples, replies), unloaded_s)
    row = {
        **summary(samples),
        **lag(samples),
        **stages(replies),
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
        schedules.append((f"{HALF_OF_PEAK}, Poisson {half:.0f}/s", half, poisson(half, plan.seconds, plan.seed)))
    if plan.trace is not None:
        schedules.append((plan.trace_name, None, plan.trace))
    for subject, rate, schedule in schedules:
        row, complaint = arrive(plan, target, schedule, alone)
        section.rows.append({"subject": subject, "rate": rate, **row})
        section.notes += [complaint] if complaint else []
    section.notes += _verdicts(section.rows)
    section.notes += [
        "queue: the server's own stage; queueing: that and all time at the client that no stage of the server accounts "
        f"for (transport, kernel, wire), from the real send, beyond the {alone * 1e6:.0f} us of an unloaded call",
    ]
    return section


def _verdicts(rows: Sequence[Row]) -> list[str]:
    """What the figures say of the targets."""
    asked = [row for row in rows if row.get("rate") in QUESTION_RATES]
    told = []
    if asked:
        rates = ", ".join(f"{row['rate']:g}" for row in asked)
        inside, outside = (max(row[f"{name}_p99_us"] or 0.0 for row in asked) for name in ("queue", "queueing"))
        told.append(
            f"queueing at p99 over {rates} req/s (target < 1 ms): at most "
            f"{inside:.0f} us by the server's own count, {'met' if inside < MOST_QUEUE_P99 else 'MISSED'}; at most "
            f"{outside:.0f} us seen from outside, {'met' if outside < MOST_QUEUE_P99 else 'MISSED'}"
        )
    for row in rows:
        if str(row["subject"]).startswith(HALF_OF_PEAK) and row["total_p99_us"] is not None:
            met = row["total_p50_us"] <= MOST_TOTAL_P50 and row["total_p99_us"] < MOST_TOTAL_P99
            told.append(
                f"scoring path at half of peak load: p50 {row['total_p50_us']:.0f} us (target <= 150), p99 "
                f"{row['total_p99_us']:.0f} us (target < 1000): {'met' if met else 'MISSED'}"
            )
    return told

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
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import verdict
from sidecar.lanes.services import ROUTE

QUESTION_RATES = (12.0, 30.0, 300.0, 3000.0)
HALF_OF_PEAK_IN_FLIGHT = 64
HALF_OF_PEAK = "half of peak"
MOST_QUEUE_P99_US = "< 1000"
HALF_TARGETS = (
    ("p50 in us from outside", "p50_us", "<= 600"),
    ("p99 in us from outside", "p99_us", "< 1500"),
    ("p50 in us by the server's own count", "total_p50_us", ""),
    ("p99 in us by the server's own count", "total_p99_us", "< 1000"),
)
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


def opened(plan: Plan, target: str, server: Server | None, *, questions: bool) -> list[Section]:
    """Poisson arrivals at each rate, half of peak load, and the trace if there is one; then the targets."""
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
    section.notes += [
        "queue: the server's own stage; queueing: that and all time at the client that no stage of the server accounts "
        f"for (transport, kernel, wire), from the real send, beyond the {alone * 1e6:.0f} us of an unloaded call",
    ]
    return [section, arrival_verdicts(section.rows)] if questions else [section]


def arrival_verdicts(rows: Sequence[Row]) -> Section:
    """The targets of the table `open_loop`."""
    section = Section("open_loop_verdicts", "Targets", VERDICT_COLUMNS)
    asked = [row for row in rows if row.get("rate") in QUESTION_RATES]
    if asked:
        rates = ", ".join(f"{row['rate']:g}" for row in asked)
        for column, where in (("queue_p99_us", "by the server's own count"), ("queueing_p99_us", "seen from outside")):
            most = max(row[column] or 0.0 for row in asked)
            section.rows.append(verdict(f"queueing, p99 in us over {rates} req/s, {where}", most, MOST_QUEUE_P99_US))
    for row in rows:
        if str(row["subject"]).startswith(HALF_OF_PEAK):
            section.rows += [
                verdict(f"{HALF_OF_PEAK}, {what}", row[column], target) for what, column, target in HALF_TARGETS
            ]
    return section

"""Which Python client is cheap enough to measure with?"""

from dataclasses import replace

from benchmarks.closed import measure
from benchmarks.floor import METHOD, command
from benchmarks.offered import open_loop
from benchmarks.plan import CLIENTS, Plan
from benchmarks.report import Section
from benchmarks.samples import fell_behind, lag, summary
from benchmarks.schedule import poisson
from benchmarks.server import Server

COLUMNS = ("subject", "in_flight", "per_second", "p50_us", "p99_us", "lag_p99_us", "generator_us_per_call", "errors")
LEVELS = (1, 64)
RATE = 3000.0


def clients(plan: Plan) -> Section:
    """Each client against the empty handler on http2: closed loop, and an open loop at 3,000 calls per second."""
    section = Section("clients", "Generators against the empty handler on http2", COLUMNS)
    with Server(command("http2", plan.floor_bytes), plan.cores.server) as floor:
        for name in CLIENTS:
            chosen = replace(plan, client=name)
            for in_flight in LEVELS:
                row, _ = measure(chosen, floor.address, METHOD, in_flight, floor)
                row["generator_us_per_call"] = round(row["generator_cpu"] / max(1.0, row["per_second"]) * 1e6, 1)
                section.rows.append({"subject": f"{name}, closed loop", **row})
            client = chosen.connect(floor.address, METHOD, plan.connections)
            try:
                samples = open_loop(client, poisson(RATE, plan.seconds, plan.seed), plan.prompts(), spin_s=plan.spin_s)
            finally:
                client.close()
            section.rows.append({"subject": f"{name}, Poisson {RATE:g}/s", **summary(samples), **lag(samples)})
            section.notes += [f"{name}: {complaint}" for complaint in [fell_behind(samples)] if complaint]
    return section

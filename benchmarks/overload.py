"""What is left of a sidecar when more is asked of it than it can do, and who pays for it?

    python benchmarks/overload.py                          # a sidecar of its own, default settings
    python benchmarks/overload.py --config overload.toml   # with settings of yours
    python benchmarks/overload.py --products 10            # with a model as heavy as an encoder's
    python benchmarks/overload.py --memory-seconds 60      # and whether memory grows at ten times the peak
    python benchmarks/overload.py --target 127.0.0.1:8470  # a running sidecar

The peak is that of a closed loop. Then calls come as a Poisson process at multiples of it, each with a deadline, through
connections that behave as grpc's own: a call waits for a free stream, is given up at the deadline, and cancelled. A call
is good if it was answered within the deadline and really scored; an answer by the safe candidate is an answer, but not a
good one.
"""

import signal
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

if __package__ in (None, ""):  # run by path: make `benchmarks` and `sidecar` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import cores as the_cores
from benchmarks import machine, report
from benchmarks.closed import measure
from benchmarks.flood import flood
from benchmarks.frames import FramesClient
from benchmarks.goodput import LEGEND, judged, recovery_s
from benchmarks.growth import growth, growth_verdicts
from benchmarks.hits import lookups, told
from benchmarks.offered import closed_loop
from benchmarks.plan import Plan
from benchmarks.prompts import salted
from benchmarks.report import Section
from benchmarks.samples import Row, fell_behind
from benchmarks.schedule import poisson
from benchmarks.server import Server, ServerFault, sidecar_command
from benchmarks.stages import decode
from benchmarks.tenants import FLOOD, MOST_TEXTS, fairness, fairness_verdicts, segment_requests
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_least, at_most, verdict
from benchmarks.weighty import weigh
from sidecar.config import load_config
from sidecar.errors import ConfigError
from sidecar.lanes.services import ROUTE
from sidecar.settings import OverloadConfig
from sidecar.wire import router_pb2 as pb

FACTORS = (0.5, 1.0, 1.5, 3.0, 10.0)
GOODPUT_TARGETS = {1.0: at_least(0.95), 1.5: at_least(0.9), 3.0: at_least(0.8), 10.0: at_least(0.5)}  # by factor
RECOVERY_TARGET = "< 50"
DEADLINE_S = 0.05
PEAK_IN_FLIGHT = 64
COLUMNS = (
    "subject", "offered_per_second", "goodput_per_second", "ratio_to_peak", "coverage", "coverage_of_answered",
    "sent_p50_us", "sent_p99_us", "budget_ms", "due_p50_us", "due_p99_us",
    "late", "rejected", "degraded", "errors", "recovery_us", "lag_p99_us", "generator_cpu", "reconnects",
)  # fmt: skip


def overload(
    plan: Plan,
    address: str,
    server: Server | None,
    *,
    deadline_s: float = DEADLINE_S,
    budget_ms: float = OverloadConfig().max_queue_ms,
    memory_seconds: float = 0.0,
) -> list[Section]:
    """Goodput at multiples of the peak, a small segment beside one that floods, memory if asked for, and the targets.

    Args:
        plan: how to measure.
        address: of the sidecar.
        server: if it was started here.
        deadline_s: of every call.
        budget_ms: of the sidecar's queue.
        memory_seconds: how long the highest multiple is kept up to see whether memory grows; 0 leaves it out.
    """
    before = lookups(address)
    row, samples = measure(plan, address, ROUTE, PEAK_IN_FLIGHT, server)
    scored = sum(pb.REASON_DEGRADED not in reply.reasons for reply in decode(samples))
    peak = scored / samples.elapsed_s
    if not peak:
        raise ServerFault(f"{address}: no call was scored in the closed loop ({row['errors'] or 'all degraded'}).")
    multiples = _multiples(plan, address, peak, deadline_s, budget_ms)
    tenants = fairness(plan, address, peak, deadline_s=deadline_s)
    tenants.notes.append(told(before, lookups(address)))
    sections = [multiples, tenants]
    targets = overload_verdicts(multiples.rows, budget_ms)
    targets.rows += fairness_verdicts(tenants.rows)
    if memory_seconds and server:
        sections.append(growth(plan, server, FACTORS[-1] * peak, memory_seconds, deadline_s=deadline_s))
        targets.rows += growth_verdicts(sections[-1].rows)
    return [*sections, targets]


def _multiples(plan: Plan, address: str, peak: float, deadline_s: float, budget_ms: float) -> Section:
    measured = f"peak {peak:,.0f} req/s at {PEAK_IN_FLIGHT} in flight"
    section = Section("overload", f"Overload: {measured}, deadline {deadline_s * 1e3:g} ms per call", COLUMNS)
    payloads = segment_requests(plan.chars, MOST_TEXTS, plan.seed, FLOOD)
    for factor in FACTORS:
        schedule = poisson(factor * peak, plan.seconds, plan.seed)
        _warm(plan, address)
        over = np.arange(len(schedule)) % max(2, plan.connections)
        own, began = time.process_time(), time.perf_counter()
        run, reconnects = flood(address, ROUTE, schedule, payloads, over, deadline_s=deadline_s, spin_s=plan.spin_s)
        busy = (time.process_time() - own) / (time.perf_counter() - began)
        recovery_us = round(recovery_s(address, salted(payloads[:1])[0]) * 1e6)
        row = judged(run, deadline_s)
        section.rows.append(
            {
                "subject": f"{factor:g}x of peak", "factor": factor, "peak_per_second": peak, **row,
                "ratio_to_peak": round(row["goodput_per_second"] / peak, 3), "budget_ms": budget_ms,
                "recovery_us": recovery_us, "reconnects": reconnects, "generator_cpu": round(busy, 2),
            }
        )  # fmt: skip
        section.notes += [complaint] if (complaint := fell_behind(run)) else []
    section.notes.append(LEGEND)
    if any(row["reconnects"] for row in section.rows):
        section.notes.append(
            "reconnects: the server ended so many connections, and with them the calls in flight there"
        )
    return section


def _warm(plan: Plan, address: str) -> None:
    client = FramesClient(address, ROUTE)
    try:
        closed_loop(client, plan.prompts(0.1 + plan.warm_up_s), 1, 0.1, warm_up_s=plan.warm_up_s)
    finally:
        client.close()


def overload_verdicts(rows: list[Row], budget_ms: float) -> Section:
    """The targets of the table `overload`.

    Args:
        rows: of the table.
        budget_ms: of the queue, as configured.
    """
    section = Section("overload_verdicts", "Targets", VERDICT_COLUMNS)
    for row in rows:
        at, factor = f"at {row['factor']:g}x of peak", row["factor"]
        section.rows.append(verdict(f"goodput / peak, {at}", row["ratio_to_peak"], GOODPUT_TARGETS.get(factor, "")))
        section.rows.append(verdict(f"coverage of the answered, {at}", row["coverage_of_answered"], ""))
        p99_ms = None if row["sent_p99_us"] is None else round(row["sent_p99_us"] / 1e3, 1)
        section.rows.append(verdict(f"p99 of good calls, ms, {at}", p99_ms, at_most(budget_ms)))
        if factor > 1.0:
            section.rows.append(
                verdict(f"one call after {at.removeprefix('at ')}, ms", row["recovery_us"] / 1e3, RECOVERY_TARGET)
            )
    section.notes.append("p99 is judged by the queue's budget, the configured max_queue_ms")
    return section


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--target", metavar="HOST:PORT", help="A running sidecar; else one is started on the other core.")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="TOML for the started sidecar."
)
@click.option(
    "--bundle", type=click.Path(path_type=Path, file_okay=False, exists=True), help="For the started sidecar."
)
@click.option("--products", default=0, type=click.IntRange(0), help="Make the default bundle's model so much heavier.")
@click.option("--transport", type=click.Choice(["http2", "grpcio"]), default="http2", help="Of the started sidecar.")
@click.option("--deadline-ms", default=DEADLINE_S * 1e3, type=click.FloatRange(min=1), help="Of every call.")
@click.option(
    "--memory-seconds",
    default=0.0,
    type=click.FloatRange(min=0),
    help="Keep up ten times the peak for so long and read the memory of the started sidecar's workers.",
)
@click.option("--chars", default=200, type=click.IntRange(20), help="Of a prompt.")
@click.option("--seconds", default=3.0, type=click.FloatRange(min=0.1), help="Of each measurement.")
@click.option("--warm-up", default=0.5, type=click.FloatRange(min=0), help="Seconds before each.")
@click.option("--connections", default=8, type=click.IntRange(2), help="Of the load.")
@click.option("--seed", default=1, help="Of prompts and arrivals.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
def main(  # noqa: PLR0913 - one parameter for each option
    *,
    target: str | None,
    config: Path | None,
    bundle: Path | None,
    products: int,
    transport: str,
    deadline_ms: float,
    memory_seconds: float,
    chars: int,
    seconds: float,
    warm_up: float,
    connections: int,
    seed: int,
    json_file: Path | None,
) -> None:
    """Measure goodput, coverage and fairness under overload."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    where = the_cores.choose()
    plan = Plan(
        seconds=seconds,
        warm_up_s=warm_up,
        rounds=1,
        seed=seed,
        chars=chars,
        concurrency=(PEAK_IN_FLIGHT,),
        rates=(),
        sizes=(),
        trace=None,
        trace_name="",
        connections=connections,
        client="frames",
        cores=where,
        bundle=bundle,
        transport=transport,
        floor_bytes=0,
        h2load=False,
    )
    try:
        budget_ms = (load_config(config).overload if config else OverloadConfig()).max_queue_ms
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    described = machine.describe(where)
    click.echo("\n".join(machine.lines(described)))
    with the_cores.pinned(where.load), tempfile.TemporaryDirectory() as scratch:
        try:
            if products:
                bundle = weigh(Path(scratch) / "weighty", products)
            if target:
                sections = overload(plan, target, None, deadline_s=deadline_ms / 1e3, budget_ms=budget_ms)
            else:
                with Server(sidecar_command(bundle, transport, config), where.server) as server:
                    sections = overload(
                        plan,
                        server.address,
                        server,
                        deadline_s=deadline_ms / 1e3,
                        budget_ms=budget_ms,
                        memory_seconds=memory_seconds,
                    )
        except (ServerFault, OSError) as fault:
            raise click.ClickException(str(fault)) from None
    for section in sections:
        click.echo(report.table(section))
    if json_file:
        report.write_json(json_file, described, sections)


if __name__ == "__main__":
    main()

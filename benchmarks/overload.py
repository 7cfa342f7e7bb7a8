"""What is left of a sidecar when more is asked of it than it can do, and who pays for it?

    python benchmarks/overload.py                          # a sidecar of its own, default settings
    python benchmarks/overload.py --config overload.toml   # with settings of yours
    python benchmarks/overload.py --products 10            # with a model as heavy as an encoder's
    python benchmarks/overload.py --target 127.0.0.1:8470  # a running sidecar

The peak is that of a closed loop. Then calls come as a Poisson process at multiples of it, each with a deadline, through
a client that behaves as grpc's own: it waits for a free stream, gives up at the deadline and cancels. A call is good if
it was answered within the deadline and really scored; an answer by the safe candidate is an answer, but not a good one.
"""

import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import click
import numpy as np

if __package__ in (None, ""):  # run by path: make `benchmarks` and `sidecar` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import cores as the_cores
from benchmarks import machine, report
from benchmarks.client import DEADLINE_EXCEEDED, OK, Reply, code_name
from benchmarks.closed import measure
from benchmarks.frames import FramesClient
from benchmarks.hits import lookups, told
from benchmarks.offered import closed_loop, open_loop
from benchmarks.plan import Plan
from benchmarks.prompts import requests, salted, texts
from benchmarks.report import Section
from benchmarks.samples import Row, Samples, fell_behind, lag, percentile
from benchmarks.schedule import poisson
from benchmarks.server import Server, ServerFault, sidecar_command
from benchmarks.stages import decode
from benchmarks.weighty import weigh
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb

RESOURCE_EXHAUSTED = 8
FACTORS = (0.5, 1.0, 1.5, 3.0)
DEADLINE_S = 0.05
PEAK_IN_FLIGHT = 64
FLOOD_FACTOR, FEW_RATE, FEW_SECONDS = 3.0, 100.0, 3.0
FLOOD, FEW = "flood", "few"
RECOVERY_S = 60.0
COLUMNS = (
    "subject", "offered_per_second", "goodput_per_second", "ratio_to_peak", "coverage", "coverage_of_answered",
    "sent_p50_us", "sent_p99_us", "due_p50_us", "due_p99_us",
    "late", "rejected", "degraded", "errors", "recovery_us", "lag_p99_us",
)  # fmt: skip
FAIRNESS_COLUMNS = (
    "subject",
    *(column for column in COLUMNS[1:] if column not in ("ratio_to_peak", "recovery_us")),
    "success",
)
LEGEND = (
    "goodput: answered within the deadline and scored; coverage: scored of all offered, and of all answered; sent: from "
    "when the headers were written, due: from when the call was due, both of good calls; late: DEADLINE_EXCEEDED at the "
    "client; rejected: RESOURCE_EXHAUSTED; degraded: answered by the safe candidate; recovery: time of one call without "
    "deadline, sent when the last call of the run had ended"
)


def overload(plan: Plan, address: str, server: Server | None, *, deadline_s: float = DEADLINE_S) -> list[Section]:
    """Two tables: goodput at multiples of the peak, and a small segment beside one that floods.

    Args:
        plan: how to measure.
        address: of the sidecar.
        server: if it was started here.
        deadline_s: of every call.
    """
    before = lookups(address)
    row, samples = measure(plan, address, ROUTE, PEAK_IN_FLIGHT, server)
    scored = sum(pb.REASON_DEGRADED not in reply.reasons for reply in decode(samples))
    peak = scored / samples.elapsed_s
    if not peak:
        raise ServerFault(f"{address}: no call was scored in the closed loop ({row['errors'] or 'all degraded'}).")
    sections = [_multiples(plan, address, peak, deadline_s), fairness(plan, address, peak, deadline_s=deadline_s)]
    sections[-1].notes.append(told(before, lookups(address)))
    return sections


def _multiples(plan: Plan, address: str, peak: float, deadline_s: float) -> Section:
    measured = f"peak {peak:,.0f} req/s at {PEAK_IN_FLIGHT} in flight"
    section = Section("overload", f"Overload: {measured}, deadline {deadline_s * 1e3:g} ms per call", COLUMNS)
    for factor in FACTORS:
        schedule = poisson(factor * peak, plan.seconds, plan.seed)
        payloads = salted(requests(plan.chars, len(schedule), plan.seed))
        with _client(plan, address, deadline_s) as client:
            closed_loop(client, plan.prompts(0.1 + plan.warm_up_s), 1, 0.1, warm_up_s=plan.warm_up_s)
            run = open_loop(client, schedule, payloads, spin_s=plan.spin_s)
        row = judged(run, deadline_s)
        row["recovery_us"] = round(recovery_s(address, salted(payloads[:1])[0]) * 1e6)
        row["ratio_to_peak"] = round(row["goodput_per_second"] / peak, 3)
        section.rows.append({"subject": f"{factor:g}x of peak", "factor": factor, "peak_per_second": peak, **row})
        section.notes += [complaint] if (complaint := fell_behind(run)) else []
    section.notes.append(LEGEND)
    return section


def fairness(plan: Plan, address: str, peak: float, *, deadline_s: float = DEADLINE_S) -> Section:
    """A segment of a hundred calls per second, alone and while another floods; each has connections of its own."""
    section = Section(
        "fairness",
        f"Fairness: {FEW_RATE:g} req/s of one segment while another sends {FLOOD_FACTOR:g}x of peak",
        FAIRNESS_COLUMNS,
    )
    seconds = max(plan.seconds, FEW_SECONDS)
    few = poisson(FEW_RATE, seconds, plan.seed)
    flood = poisson(FLOOD_FACTOR * peak, seconds, plan.seed + 1)
    due = np.concatenate([few, flood])
    order = np.argsort(due, kind="stable")
    is_few = order < len(few)
    prompts = {name: _of_segment(plan, name, len(part)) for name, part in ((FEW, few), (FLOOD, flood))}
    with _client(plan, address, deadline_s) as client:
        alone = open_loop(client, few, prompts[FEW], spin_s=plan.spin_s)
    turns = {name: cycle(salted(prompt)) for name, prompt in prompts.items()}
    payloads = [next(turns[FEW if which else FLOOD]) for which in is_few.tolist()]
    with _client(plan, address, deadline_s) as client:
        apart = _Apart(client, is_few.tolist(), max(2, plan.connections))
        both = open_loop(apart, due[order] - due.min(), payloads, spin_s=plan.spin_s)
    recovery_s(address, salted(payloads[:1])[0])
    for subject, run in (
        (f"{FEW}, alone", alone),
        (f"{FEW}, beside the flood", both.part(is_few)),
        (FLOOD, both.part(~is_few)),
    ):
        section.rows.append({"subject": subject, **judged(run, deadline_s)})
    section.notes += [complaint] if (complaint := fell_behind(both)) else []
    return section


def judged(run: Samples, deadline_s: float) -> Row:
    """The columns of one run.

    Args:
        run: of calls to Route.
        deadline_s: of every call, from when it was handed to the client.
    """
    answered = run.status == OK
    scored = np.zeros(len(answered), np.bool_)
    scored[answered] = [pb.REASON_DEGRADED not in reply.reasons for reply in decode(run)]
    good = scored & (run.done - run.sent <= deadline_s)
    of_sent, of_due = run.on_wire_s[good], (run.done - run.scheduled)[good]
    statuses = run.errors()
    return {
        "calls": len(run.status),
        "goodput_per_second": round(float(good.sum()) / run.elapsed_s, 1),
        "success": round(float(answered.mean()), 4),
        "coverage": round(float(scored.mean()), 4),
        "coverage_of_answered": round(float(scored[answered].mean()), 4) if answered.any() else None,
        **{
            f"{name}_{at}_us": None if (value := percentile(values, share)) is None else round(value * 1e6, 1)
            for name, values in (("sent", of_sent), ("due", of_due))
            for at, share in (("p50", 0.5), ("p99", 0.99))
        },
        "late": statuses.pop(code_name(DEADLINE_EXCEEDED), 0),
        "rejected": statuses.pop(code_name(RESOURCE_EXHAUSTED), 0),
        "degraded": int((answered & ~scored).sum()),
        "errors": statuses,
        **lag(run),
    }


def recovery_s(address: str, payload: bytes) -> float:
    """How long one call takes right after a run: the server may still work on calls that nobody waits for."""
    client = FramesClient(address, ROUTE)
    try:
        samples = open_loop(client, np.zeros(1), [payload], give_up_s=RECOVERY_S)
    finally:
        client.close()
    return float(samples.latency_s[0]) if samples.good else RECOVERY_S


class _Apart:
    """Two tenants: the calls of one go over the first connection, those of the other over the rest.

    Args:
        client: of so many connections.
        is_few: by key, whose call it is.
        connections: at least two.
    """

    def __init__(self, client: FramesClient, is_few: Sequence[bool], connections: int) -> None:
        self._client = client
        self._is_few = is_few
        self._others = connections - 1

    def send(self, payload: bytes, key: int) -> None:
        """See Client."""
        self._client.send(payload, key, over=0 if self._is_few[key] else 1 + key % self._others)

    def wait(self, timeout_s: float) -> list[Reply]:
        """See Client."""
        return self._client.wait(timeout_s)

    def close(self) -> None:
        """See Client."""
        self._client.close()


def _of_segment(plan: Plan, segment: str, count: int) -> list[bytes]:
    made = texts(plan.chars, count, plan.seed)
    return salted([pb.RouteRequest(text=text, segment=segment).SerializeToString() for text in made])


@contextmanager
def _client(plan: Plan, address: str, deadline_s: float) -> Iterator[FramesClient]:
    client = FramesClient(address, ROUTE, max(2, plan.connections), deadline_s=deadline_s, reconnect=True)
    try:
        yield client
    finally:
        client.close()


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
    described = machine.describe(where)
    click.echo("\n".join(machine.lines(described)))
    with the_cores.pinned(where.load), tempfile.TemporaryDirectory() as scratch:
        try:
            if products:
                bundle = weigh(Path(scratch) / "weighty", products)
            if target:
                sections = overload(plan, target, None, deadline_s=deadline_ms / 1e3)
            else:
                with Server(sidecar_command(bundle, transport, config), where.server) as server:
                    sections = overload(plan, server.address, server, deadline_s=deadline_ms / 1e3)
        except (ServerFault, OSError) as fault:
            raise click.ClickException(str(fault)) from None
    for section in sections:
        click.echo(report.table(section))
    if json_file:
        report.write_json(json_file, described, sections)


if __name__ == "__main__":
    main()

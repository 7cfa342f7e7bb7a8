"""Measures a sidecar: latency, throughput, queueing, stages, memory - beside the floor of its own transports, in one run.

    python benchmarks/latency.py                          # everything, on a sidecar of its own
    python benchmarks/latency.py --target 127.0.0.1:8470  # a running sidecar
    python benchmarks/latency.py --only arrivals          # queueing at 12, 30, 300 and 3,000 requests per second
    python benchmarks/latency.py --only ratios            # the design's targets, servers in turn
    python benchmarks/latency.py --only headers           # header blocks that are new with every call

Nothing leaves the machine unless --target says so.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

if __package__ in (None, ""):  # run by path: make `benchmarks` and `sidecar` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import cores as the_cores
from benchmarks import h2load, machine, report, traces
from benchmarks.arrivals import opened
from benchmarks.checkout import Checkout
from benchmarks.clients import clients
from benchmarks.closed import closed
from benchmarks.footprint import footprint
from benchmarks.headers import headers
from benchmarks.hits import hit_or_miss, lookups
from benchmarks.hits import info as info_of
from benchmarks.hits import told as hits_told
from benchmarks.in_process import in_process
from benchmarks.plan import CLIENTS, Plan
from benchmarks.plot import draw
from benchmarks.ratios import ratios
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.server import Server, ServerFault, sidecar_command
from benchmarks.sizes import sizes

# These ask one sidecar, started here or running at --target.
ASKED: dict[str, Callable[[Plan, str, Server | None], list[Section]]] = {
    "closed": closed,
    "arrivals": lambda plan, address, server: opened(plan, address, server, questions=True),
    "open": lambda plan, address, server: opened(plan, address, server, questions=False),
    "sizes": lambda plan, address, _server: [sizes(plan, address)],
    "cache": lambda plan, address, _server: [hit_or_miss(plan, address)],
}
# These start what they need, so they say nothing of a --target.
STARTED: dict[str, Callable[[Plan], list[Section]]] = {
    "clients": lambda plan: [clients(plan)],
    "in-process": lambda plan: [in_process(plan)],
    "footprint": lambda plan: [footprint(plan)],
    "ratios": ratios,
    "headers": headers,
}
ON_TARGET = ("closed", "arrivals", "sizes", "cache")
BY_DEFAULT = (*ON_TARGET, "in-process", "footprint", "ratios", "headers")


def _numbers(kind: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str], tuple[float, ...]]:
    def read(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, ...]:
        try:
            numbers = tuple(kind(part) for part in value.split(",") if part.strip())
        except ValueError:
            raise click.BadParameter(f"{value!r} is no list of numbers such as 1,4,16.") from None
        if not all(number > 0 for number in numbers):
            raise click.BadParameter("every number must be positive.")
        return numbers

    return read


def _window(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        start, stop = (float(part) for part in value.split(":"))
    except ValueError:
        raise click.BadParameter("give two numbers of seconds, such as 600:660.") from None
    if not 0 <= start < stop:
        raise click.BadParameter("the window must begin at 0 or later and end after its beginning.")
    return start, stop


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--target", metavar="HOST:PORT", help="A running sidecar; else one is started on the other core.")
@click.option(
    "--bundle", type=click.Path(path_type=Path, file_okay=False, exists=True), help="For the started sidecar."
)
@click.option("--transport", type=click.Choice(["http2", "grpcio"]), default="http2", help="Of the started sidecar.")
@click.option("--only", multiple=True, type=click.Choice([*ASKED, *STARTED]), help="Just this; may be repeated.")
@click.option("--concurrency", default="1,4,16,64,128", callback=_numbers(int), help="Calls in flight, closed loop.")
@click.option(
    "--rate", default="", callback=_numbers(float), help="Requests per second, open loop, beside the built-in."
)
@click.option(
    "--trace", type=click.Path(path_type=Path, dir_okay=False), help="Open loop from a Parquet or CSV with `arrival_s`."
)
@click.option("--trace-name", default="", help="Which trace of the file, by its column `trace`.")
@click.option("--window", callback=_window, metavar="FROM:TO", help="Seconds of the trace.")
@click.option("--speed-up", default=1.0, help="How much faster the trace is played.")
@click.option("--chars", default=200, type=click.IntRange(20), help="Of a prompt, where its size is not the question.")
@click.option(
    "--sizes", "lengths", default="20,200,2000,20000,200000,1000000", callback=_numbers(int), help="Characters."
)
@click.option("--seconds", default=3.0, type=click.FloatRange(min=0.1), help="Of each measurement.")
@click.option("--warm-up", default=0.5, type=click.FloatRange(min=0), help="Seconds before each.")
@click.option("--rounds", default=5, type=click.IntRange(1), help="How often compared servers take turns.")
@click.option("--connections", default=8, type=click.IntRange(1), help="Most connections of the load.")
@click.option("--client", type=click.Choice(list(CLIENTS)), default="frames", help="Which client makes the load.")
@click.option(
    "--driver",
    type=click.Choice(["auto", "python", "h2load"]),
    default="auto",
    help="Of the ratios' load; auto is h2load where it is installed.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Another checkout of this repository; the ratios compare with its servers too.",
)
@click.option("--floor-bytes", default=0, type=click.IntRange(0), help="Length of the empty handler's reply.")
@click.option("--seed", default=1, help="Of prompts and arrivals.")
@click.option("--server-core", type=int, help="Where the server runs.")
@click.option("--load-core", type=int, help="Where the load is made.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw them here (PNG).")
def main(  # noqa: PLR0913 - one parameter for each option
    *,
    target: str | None,
    bundle: Path | None,
    transport: str,
    only: tuple[str, ...],
    concurrency: tuple[int, ...],
    rate: tuple[float, ...],
    trace: Path | None,
    trace_name: str,
    window: tuple[float, float] | None,
    speed_up: float,
    chars: int,
    lengths: tuple[int, ...],
    seconds: float,
    warm_up: float,
    rounds: int,
    connections: int,
    client: str,
    driver: str,
    against: Path | None,
    floor_bytes: int,
    seed: int,
    server_core: int | None,
    load_core: int | None,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure a sidecar: latency, throughput, queueing, stages and memory, beside the floor of its transports."""
    try:
        where = the_cores.choose(server_core, load_core)
        arrivals = traces.read(trace, trace_name, window, speed_up) if trace else None
        other = Checkout(against) if against else None
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    # Told to end, it must still end the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if driver == "h2load" and not h2load.available():
        raise click.ClickException(h2load.ABSENT)
    plan = Plan(
        seconds=seconds,
        warm_up_s=warm_up,
        rounds=rounds,
        seed=seed,
        chars=chars,
        concurrency=concurrency,
        rates=rate,
        sizes=lengths,
        trace=arrivals,
        trace_name=f"{trace_name or (trace.stem if trace else '')} x{speed_up:g}",
        connections=connections,
        client=client,
        cores=where,
        bundle=bundle,
        transport=transport,
        floor_bytes=floor_bytes,
        h2load=driver == "h2load" or (driver == "auto" and h2load.available()),
        against=other,
    )
    wanted = only or (ON_TARGET if target else BY_DEFAULT)
    described = machine.describe(where)
    click.echo("\n".join(machine.lines(described)))
    try:
        sections = _measure(plan, wanted, target, described)
    except (ServerFault, h2load.H2loadFault) as fault:
        raise click.ClickException(str(fault)) from None
    if json_file:
        report.write_json(json_file, described, sections)
    if plot_file:
        _draw(plot_file, sections, described)


def _measure(plan: Plan, wanted: tuple[str, ...], target: str | None, described: Row) -> list[Section]:
    sections: list[Section] = []

    def told(measured: list[Section]) -> None:
        for section in measured:
            click.echo(report.table(section))
        sections.extend(measured)

    with the_cores.pinned(plan.cores.load):
        if set(wanted) & set(ASKED):
            with _serving(plan, target) as (address, server):
                described["server"] = _info(address)
                click.echo(" ".join(f"{key}={value}" for key, value in described["server"].items()))
                for name, measure in ASKED.items():
                    if name in wanted:
                        click.echo(f"measuring {name} ...", err=True)
                        before = lookups(address)
                        sections_of_it = measure(plan, address, server)
                        sections_of_it[0].notes.append(hits_told(before, lookups(address)))
                        told(sections_of_it)
        for name, compare in STARTED.items():
            if name in wanted:
                click.echo(f"measuring {name} ...", err=True)
                told(compare(plan))
    return sections


@contextmanager
def _serving(plan: Plan, target: str | None) -> Iterator[tuple[str, Server | None]]:
    if target:
        yield target, None
        return
    with Server(sidecar_command(plan.bundle, plan.transport), plan.cores.server) as server:
        yield server.address, server


def _info(address: str) -> Row:
    info = info_of(address)
    return {
        "transport": info.transport,
        "provider": info.execution_provider,
        "bundle": f"{info.bundle.name} {info.bundle.version}" if info.HasField("bundle") else "none",
        "candidates": len(info.candidates),
        "degraded": info.degraded or "no",
        "cache_max_bytes": info.limits.cache_max_bytes,
    }


def _draw(path: Path, sections: list[Section], described: Row) -> None:
    caption = f"router-sidecar, {described['cpu']}, server on one core, {described['date']}"
    try:
        draw(path, sections, caption)
    except ModuleNotFoundError:
        raise click.ClickException("--plot needs matplotlib: pip install matplotlib.") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()

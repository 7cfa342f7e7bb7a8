"""What do callers notice when a sidecar is killed in parts, asked too much, or given more workers?

python benchmarks/faults.py                       # everything, six minutes
python benchmarks/faults.py --only kill --seconds 10
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click

if __package__ in (None, ""):  # run by path: make `benchmarks` and `sidecar` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import cores as the_cores
from benchmarks import h2load, killing, machine, report
from benchmarks.cores import Cores, pinned
from benchmarks.overload import PEAK_IN_FLIGHT, overload
from benchmarks.plan import Plan
from benchmarks.report import Section
from benchmarks.scale import scale
from benchmarks.server import Server, ServerFault, sidecar_command

CONNECTIONS = 8


def overloaded(where: Cores, seconds: float) -> list[Section]:
    """The tables of benchmarks.overload with the default configuration, and their targets."""
    plan = Plan(
        seconds=seconds, warm_up_s=0.5, rounds=1, seed=1, chars=200, concurrency=(PEAK_IN_FLIGHT,), rates=(), sizes=(),
        trace=None, trace_name="", connections=CONNECTIONS, client="frames", cores=where, bundle=None, transport="http2",
        floor_bytes=0, h2load=False,
    )  # fmt: skip
    command = [*sidecar_command(None), "--workers", "1"]
    with pinned(where.load), Server(command, where.server) as server:
        return overload(plan, server.address, server)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["kill", "control", "overload", "scale"]),
    help="Just this; may be repeated.",
)
@click.option("--seconds", default=60.0, type=click.FloatRange(min=3.0), help="Of killing, with and without retries.")
@click.option("--load-seconds", default=3.0, type=click.FloatRange(min=0.5), help="Of each measurement under load.")
@click.option("--rounds", default=3, type=click.IntRange(1), help="How often one and two workers take turns.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
def main(*, only: tuple[str, ...], seconds: float, load_seconds: float, rounds: int, json_file: Path | None) -> None:
    """Measure failed calls, goodput and throughput."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    where = the_cores.choose()
    described = machine.describe(where)
    click.echo("\n".join(machine.lines(described)))
    parts: dict[str, Callable[[], list[Section]]] = {
        "kill": lambda: killing.workers(seconds),
        "control": lambda: killing.control(seconds),
        "overload": lambda: overloaded(where, load_seconds),
        "scale": lambda: scale(where, load_seconds, rounds),
    }
    sections: list[Section] = []
    try:
        for name in only or parts:
            click.echo(f"measuring {name} ...", err=True)
            found = parts[name]()
            for section in found:
                click.echo(report.table(section))
            sections += found
    except (ServerFault, h2load.H2loadFault, OSError) as fault:
        raise click.ClickException(str(fault)) from None
    if json_file:
        report.write_json(json_file, described, sections)


if __name__ == "__main__":
    main()

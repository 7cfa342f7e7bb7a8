"""What is it worth to see the load? The real sidecar beside a simulated fleet, in a closed loop.

    python benchmarks/load.py                          # everything, some fifteen minutes
    python benchmarks/load.py --quick                  # a look at everything, under a minute and a half
    python benchmarks/load.py --only sweep --out DIR   # one part; DIR gets load.json and load.png

The candidates' servers are simulated (benchmarks/fleet/servers.py): slots, queues, streams that slow each other down. When
requests come is a real trace's, what they ask and how well each candidate answers, at which length, are real records of
routing_test. Decisions, outcomes and telemetry go over real gRPC and HTTP, to a real sidecar with its own processes.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click

if __package__ in (None, ""):  # run by path: make `benchmarks`, `export` and `sidecar` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import cores as the_cores
from benchmarks import machine, report
from benchmarks.fleet import cost, fault, herd, plot, sweep
from benchmarks.fleet.candidates import FLEET
from benchmarks.fleet.scene import SECOND_VALUE_USD, Blind, Scene, blind_decisions, scene
from benchmarks.fleet.workload import TRACES, read_trace
from benchmarks.report import Section
from benchmarks.server import ServerFault
from benchmarks.traces import TraceError
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from export.errors import DataError
from sidecar.errors import RouterError

PARTS = ("sweep", "fault", "herd", "cost")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LOADS, QUICK_LOADS = (0.3, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5), (0.5, 1.0, 1.5)
SPEED = 20.0
SWEEP = sweep.Extent(SPEED, 600.0, 60.0, LOADS)
QUICK_SWEEP = sweep.Extent(SPEED, 120.0, 20.0, QUICK_LOADS)
FAULT, QUICK_FAULT = fault.Plan(6.0, 12.0, 26.0), fault.Plan(3.0, 6.0, 17.0)
COST, QUICK_COST = cost.Extent(4.0, 7, 15.0), cost.Extent(1.0, 2, 3.0)


class Run:
    """One run of the benchmark: what is run, how long, and what was found.

    Args:
        scene: fleet and questions.
        data: directory of the shared data sets.
        quick: whether everything is only looked at.
    """

    def __init__(self, scene: Scene, data: Path, *, quick: bool) -> None:
        self._scene = scene
        self._data = data
        self._quick = quick
        self._blind: Blind | None = None

    def blind(self) -> Blind:
        """What the load-blind router decides; asked for once."""
        if self._blind is None:
            self._blind = blind_decisions(self._scene)
        return self._blind

    def sweep(self) -> list[Section]:
        """Policies under load."""
        names = TRACES[:1] if self._quick else TRACES
        traces = {name: read_trace(self._data, name) for name in names}
        return sweep.sweep(self._scene, self.blind(), traces, QUICK_SWEEP if self._quick else SWEEP, _say)

    def fault(self) -> list[Section]:
        """A candidate fails."""
        arrivals, blind = read_trace(self._data, TRACES[0]), self.blind()
        tried = fault.cases(blind, len(self._scene.fleet), quick=self._quick)
        return fault.fault(self._scene, blind, arrivals, QUICK_FAULT if self._quick else FAULT, tried, _say)

    def herd(self) -> list[Section]:
        """All at once."""
        return herd.herd(self._scene, herd.CASES, _say)

    def cost(self) -> list[Section]:
        """What it costs."""
        return cost.cost(self._scene, QUICK_COST if self._quick else COST, _say)


def verdicts(sections: list[Section]) -> Section:
    """All lines with a target, together."""
    found = Section("targets", "All targets", VERDICT_COLUMNS)
    found.rows = [row for section in sections for row in section.rows if row.get("target")]
    return found


def _say(what: str) -> None:
    click.echo(f"  {what} ...", err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="Short runs of everything: the figures are coarse.")
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Just this part; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write load.json and load.png here.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=DATA, help="The shared data sets.")
@click.option(
    "--bundle", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Instead of the embedded one."
)
@click.option("--telemetry/--no-telemetry", default=True, help="Whether self-hosted candidates show /metrics.")
@click.option(
    "--second-value", default=SECOND_VALUE_USD, type=click.FloatRange(min=0), help="USD that a second of waiting costs."
)
@click.option("--headers/--no-headers", default=True, help="Whether hosted candidates send rate-limit headers.")
def main(
    *,
    quick: bool,
    only: tuple[str, ...],
    out: Path | None,
    data: Path,
    bundle: Path | None,
    telemetry: bool,
    headers: bool,
    second_value: float,
) -> None:
    """Measure time to an answer, quality and cost under load, faults, herds, and what seeing the load costs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    where = the_cores.choose()
    described = machine.describe(where)
    click.echo("\n".join(machine.lines(described)))
    sections: list[Section] = []
    with the_cores.pinned(where.load):
        try:
            seen = scene(
                data, FLEET, bundle, where, telemetry=telemetry, headers=headers, second_value_usd=second_value
            )
            run = Run(seen, data, quick=quick)
            parts: dict[str, Callable[[], list[Section]]] = {name: getattr(run, name) for name in PARTS}
            for name in only or PARTS:
                click.echo(f"measuring {name}", err=True)
                found = parts[name]()
                for section in found:
                    click.echo(report.table(section))
                sections += found
        except (ServerFault, RouterError, DataError, TraceError, TimeoutError, OSError) as failure:
            raise click.ClickException(str(failure)) from None
    sections.append(verdicts(sections))
    click.echo(report.table(sections[-1]))
    if out:
        _keep(out, described, sections)


def _keep(out: Path, described: dict[str, object], sections: list[Section]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    report.write_json(out / "load.json", described, sections)
    swept = next((section for section in sections if section.name == f"sweep_{TRACES[0]}"), None)
    if swept is not None:
        plot.draw(out / "load.png", swept.rows, swept.title, f"{described['cpu']}, {described['date']}")
    click.echo(f"\nwritten to {out}")


if __name__ == "__main__":
    main()

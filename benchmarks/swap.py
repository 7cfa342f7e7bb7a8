"""What does it cost to swap the bundle of a sidecar that works at full load?

    python benchmarks/swap.py                   # 200 swaps, 20 rollbacks, and 30 swaps between other tokenizers
    python benchmarks/swap.py --swaps 20        # a quick look
    python benchmarks/swap.py --plot swap.png

One worker on one core, kept busy by a closed loop on the other core. Bundles that differ in nothing but their version take
turns, so every reply tells which of them scored it. They are three, since the bundle before stays in memory for a rollback:
with two, nothing would be loaded after the first swap.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import click
import msgspec
import numpy as np

if __package__ in (None, ""):  # run by path: make `benchmarks` and `sidecar` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import cores as the_cores
from benchmarks import machine, report
from benchmarks.client import OK, code_name
from benchmarks.cores import Cores
from benchmarks.frames import FramesClient
from benchmarks.long_loop import Calls, long_loop
from benchmarks.prompts import requests
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.server import ROOT, Server, ServerFault, sidecar_command
from benchmarks.swap_figures import Swap, astray, levels, stale
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_most, verdict
from sidecar.bundle.embedded import DEFAULT_BUNDLE
from sidecar.bundle.manifest import MANIFEST, TOKENIZER
from sidecar.bundle.registry import Registry
from sidecar.bundle.seal import seal
from sidecar.bundle.verify import decode
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb

NAMES = ("swap-a", "swap-b", "swap-c")
MARKS = {name: 1 << number for number, name in enumerate(NAMES)}
UNSCORED = 1 << len(NAMES)  # answered under overload by the safe candidate: no version had a say
ONE = tuple(MARKS.values())
BYTES = tuple((name.encode(), mark) for name, mark in MARKS.items())
FEW, MANY = 10, 200
OTHER_TOKENIZER_SWAPS = 30
LEVEL_COLUMNS = ("subject", "calls", "per_second", "p50_us", "p99_us", "p50_ratio", "p99_ratio", "throughput_ratio")
TIME_COLUMNS = ("subject", "median_ms", "p99_ms", "max_ms")


def mark_of(body: bytes) -> int:
    """The sum of the marks of the versions that a reply names; UNSCORED if it is of the safe candidate."""
    mark = sum(mark for name, mark in BYTES if name in body)
    return mark or (UNSCORED if pb.REASON_DEGRADED in pb.RouteResponse.FromString(body).reasons else 0)


def make_registry(directory: Path, *, other_tokenizer: bool) -> None:
    """Three versions of the default bundle, the first of them active.

    Args:
        directory: exists and is empty.
        other_tokenizer: each one's tokenizer.json has other bytes, with the same meaning.
    """
    for number, name in enumerate(NAMES):
        shutil.copytree(DEFAULT_BUNDLE, directory / name)
        if other_tokenizer:
            tokenizer = directory / name / TOKENIZER
            tokenizer.write_bytes(tokenizer.read_bytes() + number * b"\n")
        manifest = decode((directory / name / MANIFEST).read_bytes())
        seal(directory / name, msgspec.structs.replace(manifest, version=name))
    Registry(directory).point(NAMES[0])


def run(
    where: Cores, in_flight: int, swaps: int, rollbacks: int, seconds_between: float, *, other_tokenizer: bool
) -> tuple[Calls, list[Swap], list[Swap]]:
    """One sidecar under load while its bundle is swapped; gives the calls, the swaps and the rollbacks.

    Raises:
        ServerFault: the sidecar does not start, or a swap failed.
    """
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        make_registry(Path(folder), other_tokenizer=other_tokenizer)
        command = [*sidecar_command(None), "--registry", folder, "--workers", "1"]
        with Server(command, where.server) as server, tempfile.TemporaryFile("w+") as told:
            client = FramesClient(server.address, ROUTE, min(8, in_flight))
            (worker,) = server.workers()
            options = {
                "--swaps": swaps, "--rollbacks": rollbacks, "--seconds-between": seconds_between, "--pid": worker.pid
            }  # fmt: skip
            command = [sys.executable, "-m", "benchmarks.swapper", server.address, *NAMES]
            command += [str(part) for option in options.items() for part in option]
            payloads = requests(200, 50_000, 1)
            swapper = subprocess.Popen(command, stdout=told, cwd=ROOT)
            try:
                calls = long_loop(client, payloads, in_flight, lambda: swapper.poll() is None, mark_of)
            finally:
                client.close()
                swapper.kill()
                status = swapper.wait()
            told.seek(0)
            lines = [json.loads(line) for line in told]
    if status:
        raise ServerFault(f"swap {len(lines) + 1} failed; the output above says why.")
    found = [Swap.of(line, MARKS) for line in lines]
    return calls, found[:swaps], found[swaps:]


def verdicts(calls: Calls, swaps: list[Swap], rollbacks: list[Swap], rows: list[Row]) -> Section:
    """The targets, and whether they are met."""
    section = Section("swap", f"{len(swaps)} swaps under load", VERDICT_COLUMNS)
    good = calls.status == OK
    changes = [*swaps, *rollbacks]
    scored = calls.mark != UNSCORED
    decided = Calls(calls.sent[scored], calls.done[scored], calls.status[scored], calls.mark[scored])
    wrong, looked_at = stale(decided, changes)
    whole, loading = rows[1], rows[2]
    section.rows += [
        verdict(f"failed calls, of {len(calls.status):,}", int((~good).sum()), at_most(0)),
        verdict("answered by the safe candidate, since they would have waited too long", int((~scored).sum()), ""),
        verdict(
            "replies that do not name exactly one version",
            int((~np.isin(calls.mark[good & scored], ONE)).sum()),
            at_most(0),
        ),
        verdict(
            "replies by neither the version before nor the one after",
            astray(decided, MARKS[NAMES[0]], changes),
            at_most(0),
        ),
        verdict(f"replies by an older version, of {looked_at:,} sent after an acknowledgement", wrong, at_most(0)),
        verdict("p99 while the worker loads and switches / outside", loading["p99_ratio"], at_most(1.5)),
        verdict("p99 during the whole activation / outside", whole["p99_ratio"], at_most(1.5)),
    ]
    if len(swaps) > FEW:
        last = min(len(swaps), MANY)
        growth = swaps[last - 1].resident_mb / swaps[FEW - 1].resident_mb
        told = f"resident memory after swap {last} / after swap {FEW}"
        section.rows.append(verdict(told, round(growth, 3), at_most(1.1)))
        section.notes.append(f"resident {swaps[FEW - 1].resident_mb:.0f} and {swaps[last - 1].resident_mb:.0f} MB")
    if rollbacks:
        slowest = max(back.acknowledged - back.began for back in rollbacks)
        section.rows.append(
            verdict(
                f"slowest of {len(rollbacks)} rollbacks, order to acknowledgement, ms", round(slowest * 1e3, 1), "< 100"
            )
        )
    statuses = {
        code_name(int(status)): int((calls.status == status).sum()) for status in np.unique(calls.status[~good])
    }
    section.notes += [f"failed calls: {report.cell(statuses)}"] if statuses else []
    return section


def times(swaps: list[Swap], rollbacks: list[Swap]) -> Section:
    """How long swaps and rollbacks take."""
    section = Section("swap_times", "How long it takes", TIME_COLUMNS)
    columns = {
        "swap: verify, trial, comparison": [swap.gate_s for swap in swaps],
        "swap: loading": [swap.prepare_s for swap in swaps],
        "swap: switch": [swap.switch_s for swap in swaps],
        "swap: order to acknowledgement": [swap.acknowledged - swap.began for swap in swaps],
        "rollback: switch": [back.switch_s for back in rollbacks],
        "rollback: order to acknowledgement": [back.acknowledged - back.began for back in rollbacks],
    }
    for subject, seconds in columns.items():
        if seconds:
            high = float(np.quantile(seconds, 0.99, method="inverted_cdf"))
            of = (("median_ms", median(seconds)), ("p99_ms", high), ("max_ms", max(seconds)))
            section.rows.append({"subject": subject, **{name: round(value * 1e3, 2) for name, value in of}})
    section.notes.append("acknowledged: the caller has the reply; it is sent by the worker under load")
    return section


def cost(calls: Calls, swaps: list[Swap], name: str, title: str) -> Section:
    """Latency and throughput inside and outside of swaps."""
    section = Section(name, title, LEVEL_COLUMNS, levels(calls, swaps))
    section.notes.append(
        "the gate runs on the load's core, so what calls lose during it is the load's loss, not the worker's"
    )
    return section


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--swaps", default=MANY, type=click.IntRange(1), help="Between two bundles with the same tokenizer.")
@click.option(
    "--other-tokenizer-swaps", default=OTHER_TOKENIZER_SWAPS, type=click.IntRange(0), help="0 leaves them out."
)
@click.option("--rollbacks", default=20, type=click.IntRange(0), help="After the swaps.")
@click.option("--in-flight", default=64, type=click.IntRange(1), help="Calls.")
@click.option("--seconds-between", default=0.3, type=click.FloatRange(min=0), help="Pause between two swaps.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw them here (PNG).")
def main(
    *,
    swaps: int,
    other_tokenizer_swaps: int,
    rollbacks: int,
    in_flight: int,
    seconds_between: float,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure failed calls, latency, memory and time over many swaps."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    where = the_cores.choose()
    described = machine.describe(where)
    click.echo("\n".join(machine.lines(described)))
    with the_cores.pinned(where.load):
        try:
            calls, made, back = run(where, in_flight, swaps, rollbacks, seconds_between, other_tokenizer=False)
            same = cost(calls, made, "swap_cost", f"Calls under swaps, {in_flight} in flight")
            sections = [verdicts(calls, made, back, same.rows), same, times(made, back)]
            if other_tokenizer_swaps:
                others = run(where, in_flight, other_tokenizer_swaps, 0, seconds_between, other_tokenizer=True)
                title = f"The same, {other_tokenizer_swaps} swaps between bundles whose tokenizers differ"
                sections.append(cost(others[0], others[1], "swap_cost_other_tokenizer", title))
        except (ServerFault, OSError) as fault:
            raise click.ClickException(str(fault)) from None
    for section in sections:
        click.echo(report.table(section))
    if json_file:
        report.write_json(json_file, described, sections)
    if plot_file:
        from benchmarks.swap_plot import draw  # noqa: PLC0415 - only who draws needs matplotlib

        draw(plot_file, calls, made, f"router-sidecar, {described['cpu']}, worker on one core, {described['date']}")


if __name__ == "__main__":
    main()

"""Measures the sidecar beside other model servers: same ONNX file, same tokenizer, one core, load from another core.

    python benchmarks/peers/run.py            # all peers; environments under .venv-peers/ are made on demand
    python benchmarks/peers/run.py --peer mosec

Each server is started, measured and ended in turn, several rounds; figures are medians, ratios are taken within a round.
h2load (Debian package nghttp2-client) makes the load, since it speaks both HTTP/1.1 and gRPC's HTTP/2.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

if __package__ in (None, ""):  # run by path: make `benchmarks` and `sidecar` importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import cores as the_cores
from benchmarks import h2load, machine, report
from benchmarks.peers.mosec_peer import Mosec
from benchmarks.peers.ours import Ours, OursBatch
from benchmarks.peers.peer import Peer, PeerFault
from benchmarks.peers.v2_peer import mlserver, pytriton
from benchmarks.prompts import texts
from benchmarks.ratios import Turn, ratio
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.server import ServerFault
from benchmarks.verdict import at_least, verdict
from sidecar.bundle.embedded import DEFAULT_BUNDLE

PEERS = ("mosec", "pytriton", "mlserver")
COLUMNS = ("subject", "in_flight", "per_second", "p50_us", "p99_us", "errors", "rounds")
RATIO_COLUMNS = ("subject", "ratio", "lowest", "highest", "p50_alone", "target", "verdict")
TARGETS = {"mosec 0.9.8": at_least(1.3), "PyTriton 0.7.0": at_least(5)}
BATCH_TARGETS = {"mosec 0.9.8": at_least(2)}
LONE = 1


def subjects(wanted: Sequence[str]) -> list[Peer]:
    """The sidecar first, then the peers."""
    every: dict[str, list[Peer]] = {
        "mosec": [Mosec(batch=32), Mosec(batch=1)],
        "pytriton": [pytriton()],
        "mlserver": [mlserver(), mlserver(batch_ms=1.0)],
    }
    return [Ours("http2"), Ours("grpcio"), OursBatch(), *(peer for name in wanted for peer in every[name])]


def measure(
    peers: Sequence[Peer], bundle: Path, text: str, in_flight: int, seconds: float, rounds: int, cores: the_cores.Cores
) -> tuple[dict[tuple[str, int], Turn], dict[str, str]]:
    """Rounds over all peers, every second one in reverse order.

    Returns:
        The figures by (name, calls in flight), and why a peer has none.
    """
    turns: dict[tuple[str, int], Turn] = {}
    faults: dict[str, str] = {}
    for peer in peers:
        click.echo(f"  installing {peer.name}", err=True)
        try:
            peer.install()
        except PeerFault as fault:
            faults[peer.name] = str(fault)
    for number in range(rounds):
        for peer in peers if number % 2 == 0 else list(reversed(peers)):
            if peer.name in faults:
                continue
            click.echo(f"  round {number + 1}/{rounds}: {peer.name}", err=True)
            try:
                rows = _once(peer, bundle, text, (in_flight, LONE), seconds, cores)
            except (PeerFault, ServerFault, h2load.H2loadFault, OSError) as fault:
                faults[peer.name] = str(fault)
                continue
            finally:
                peer.stop()
            for level, row in rows.items():
                turns.setdefault((peer.name, level), Turn(peer.name, level, dict)).rows.append(row)
    return turns, faults


def _once(
    peer: Peer, bundle: Path, text: str, levels: Sequence[int], seconds: float, cores: the_cores.Cores
) -> dict[int, Row]:
    peer.start(bundle, cores.server)
    peer.ask(text)
    shot = peer.shot(text)
    rows = {}
    for level in levels:
        calls = max(LONE, level // peer.items)  # as many prompts in flight, whether or not a call has many
        row = h2load.run(shot, calls, seconds, cores.load, peer.connections(calls))
        rows[level] = {**row, "per_second": row["per_second"] * peer.items}
    return rows


def compare(
    peers: Sequence[Peer], turns: dict[tuple[str, int], Turn], faults: dict[str, str], in_flight: int
) -> list[Section]:
    """The table of figures, and that of ratios of the sidecar on http2, by call and in batches, to each peer."""
    figures = Section("peers", "Peers, one core each, medians over the rounds", COLUMNS)
    ratios = Section("peer_ratios", "Throughput of the sidecar on http2 over the peer's", RATIO_COLUMNS)
    figures.notes.append("h2load sends one prompt over and over, so every tokenizer here knows its words")
    for peer in peers:
        if peer.name in faults:
            figures.rows.append({"subject": f"{peer.name}: NOT MEASURED"})
            figures.notes.append(f"{peer.name} was not measured: {faults[peer.name]}")
            continue
        figures.rows += [turns[peer.name, level].row() for level in (LONE, in_flight)]
        figures.notes.append(f"{peer.name}: {peer.note}")
    first = peers[0]
    ours = [peer for peer in peers if peer is first or isinstance(peer, OursBatch)]
    for mine in ours:
        for peer in peers:
            if peer not in ours and mine.name not in faults and peer.name not in faults:
                ratios.rows.append(_compared(mine, peer, turns, in_flight))
    return [figures, ratios]


def _compared(mine: Peer, peer: Peer, turns: dict[tuple[str, int], Turn], in_flight: int) -> Row:
    middle, lowest, highest = ratio(turns[mine.name, in_flight], turns[peer.name, in_flight], "per_second")
    in_batches = mine.items > 1
    row: Row = {
        **verdict(
            f"{'RouteBatch' if in_batches else 'Route'} over {peer.name}",
            round(middle, 2),
            (BATCH_TARGETS if in_batches else TARGETS).get(peer.name, ""),
        ),
        "ratio": round(middle, 2),
        "lowest": round(lowest, 2),
        "highest": round(highest, 2),
    }
    if not in_batches:
        alone, _, _ = ratio(turns[mine.name, LONE], turns[peer.name, LONE], "p50_us")
        row["p50_alone"] = f"{alone:.2f}x of its p50"
    return row


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--bundle", type=click.Path(path_type=Path, file_okay=False, exists=True), default=DEFAULT_BUNDLE)
@click.option("--peer", "wanted", multiple=True, type=click.Choice(PEERS), help="Just this one; may be repeated.")
@click.option("--chars", default=200, type=click.IntRange(20), help="Of the prompt.")
@click.option("--in-flight", default=128, type=click.IntRange(2), help="Calls at the ceiling.")
@click.option("--seconds", default=4.0, type=click.FloatRange(min=1), help="Of each measurement.")
@click.option("--rounds", default=3, type=click.IntRange(1), help="How often the servers take turns.")
@click.option("--seed", default=1, help="Of the prompt.")
@click.option("--server-core", type=int, help="Where the servers run.")
@click.option("--load-core", type=int, help="Where the load is made.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
def main(  # noqa: PLR0913 - one parameter for each option
    *,
    bundle: Path,
    wanted: tuple[str, ...],
    chars: int,
    in_flight: int,
    seconds: float,
    rounds: int,
    seed: int,
    server_core: int | None,
    load_core: int | None,
    json_file: Path | None,
) -> None:
    """Measure the sidecar beside mosec, PyTriton and MLServer."""
    if not h2load.available():
        raise click.ClickException(h2load.ABSENT)
    try:
        cores = the_cores.choose(server_core, load_core)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    # Told to end, it must still end the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    described = machine.describe(cores)
    click.echo("\n".join(machine.lines(described)))
    peers = subjects(wanted or PEERS)
    text = texts(chars, 1, seed)[0]
    turns, faults = measure(peers, bundle.resolve(), text, in_flight, seconds, rounds, cores)
    sections = compare(peers, turns, faults, in_flight)
    for section in sections:
        click.echo(report.table(section))
    if json_file:
        report.write_json(json_file, described, sections)


if __name__ == "__main__":
    main()

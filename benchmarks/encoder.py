"""What an encoder costs on this machine's CPU: beside a plain session that scores one request after the other.

    python -m benchmarks.encoder --bundle DIR --workers 2 --in-flight 1,16

The plain session has no gRPC, no queue and no decision to make, which favours it. Its latency with N calls in flight is
that of a caller who waits for the N - 1 before it. The ceiling is what the cores give to such sessions in processes of
their own, without anybody who sends or answers: only batches can lead beyond it. Where other programs use the machine,
compare processor time. Without --bundle, one is made in MiniLM's shape (benchmarks.minilm).
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import numpy as np
import onnxruntime as ort

from benchmarks import ceiling, cores, machine, minilm, prompts, report
from benchmarks.frames import FramesClient
from benchmarks.offered import closed_loop
from benchmarks.report import Section
from benchmarks.samples import Row, summary
from benchmarks.server import Server, sidecar_command
from sidecar.bundle.load import Bundle, load
from sidecar.bundle.manifest import MODEL, MODEL_FP32
from sidecar.lanes.services import ROUTE
from sidecar.scoring.session import OUTPUTS, opened
from sidecar.wire import router_pb2 as pb

COLUMNS = ("subject", "in_flight", "per_second", "p50_us", "p99_us", "cpu ms a request", "mean_batch", "errors")
COST_COLUMNS = ("tokens", *(f"batch {batch}, ms a row" for batch in (1, 4, 16)))
# Prompts are lognormal in length: most are short, and the longest are cut by the tokenizer.
SIGMA = 0.9
WARM_UP_S = 1.0
CEILING = "ceiling: a plain session on each core"
MOST_TOKENS = 4096
CHARS_PER_TOKEN = 4.5

Rows = Sequence[list[int]]


class Traffic(NamedTuple):
    """The same prompts as text and as token ids."""

    texts: list[str]
    rows: Rows


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--bundle", "given", type=click.Path(path_type=Path, file_okay=False, exists=True), help="An encoder's.")
@click.option("--prompts", "amount", default=400, type=click.IntRange(20), help="Different ones.")
@click.option("--median", default=60, type=click.IntRange(2), help="Tokens of a prompt.")
@click.option("--workers", default="1,2", help="Of the sidecar; several are measured one after the other.")
@click.option("--threads", default=1, type=click.IntRange(1), help="encoder.threads of the sidecar.")
@click.option("--run-ms", default=50.0, type=click.FloatRange(min=0.1), help="encoder.run_ms of the sidecar.")
@click.option("--in-flight", default="1,4,16", help="Calls at a time; several are measured one after the other.")
@click.option("--seconds", default=5.0, type=click.FloatRange(min=0.1), help="Of each measurement.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
def main(  # noqa: PLR0913 - one parameter for each option
    *,
    given: Path | None,
    amount: int,
    median: int,
    workers: str,
    threads: int,
    run_ms: float,
    in_flight: str,
    seconds: float,
    json_file: Path | None,
) -> None:
    """Measure an encoder on the CPU, alone and under Route, beside a plain session."""
    described = machine.describe(cores.choose(None, None))
    click.echo("\n".join(machine.lines(described)))
    levels = _numbers(in_flight)
    with TemporaryDirectory() as scratch:
        directory = given or minilm.write_bundle(Path(scratch) / "bundle")
        bundle = load(directory)
        if bundle.manifest.family != "encoder":
            raise click.ClickException(
                f"{directory} holds a {bundle.manifest.family} router; give an encoder's bundle."
            )
        traffic = _traffic(bundle, amount, median, made_up=given is None)
        sections = [_costs(directory / MODEL, bundle.manifest.tokenizer.max_tokens)]
        click.echo(report.table(sections[0]))
        compared = Section("traffic", _title(bundle, traffic), COLUMNS)
        for name, options in _plain(directory).items():
            compared.rows += _rows(name, options, traffic, levels, seconds)
        compared.rows.append(_ceiling(directory / MODEL, traffic, seconds))
        for number in _numbers(workers):
            settings = Path(scratch) / f"{number}.toml"
            settings.write_text(
                f"workers = {number}\nprovider = 'cpu'\ncache.max_bytes = 0\n[encoder]\nthreads = {threads}\nrun_ms = {run_ms}\n"
                "[overload]\nmax_queue_ms = 600000\n"
            )
            with Server(sidecar_command(directory, config=settings), None) as server:
                for level in levels:
                    compared.rows.append(_under_route(server, traffic, level, seconds, number))
        compared.notes += _ratios(compared.rows)
        click.echo(report.table(compared))
        sections.append(compared)
    if json_file:
        report.write_json(json_file, described, sections)


def _numbers(value: str) -> list[int]:
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of whole numbers such as 1,4,16.") from None


def _traffic(bundle: Bundle, amount: int, median: int, *, made_up: bool) -> Traffic:
    random = np.random.default_rng(1)
    lengths = np.clip(random.lognormal(np.log(median), SIGMA, amount), 1, MOST_TOKENS).astype(int)
    if made_up:
        texts = minilm.texts(lengths.tolist())
    else:
        texts = [
            prompts.texts(max(prompts.SMALLEST, int(length * CHARS_PER_TOKEN)), 1, number)[0]
            for number, length in enumerate(lengths)
        ]
    return Traffic(texts, bundle.tokenizer.rows(texts))


def _title(bundle: Bundle, traffic: Traffic) -> str:
    lengths = np.array([len(row) for row in traffic.rows])
    return (
        f"{bundle.manifest.name} {bundle.manifest.version}: {len(lengths)} prompts of {lengths.mean():.0f} tokens on "
        f"average (half of them at most {np.median(lengths):.0f}, cut at {bundle.manifest.tokenizer.max_tokens})"
    )


def _costs(model: Path, most_tokens: int) -> Section:
    """What the model alone takes, by batch and length."""
    section = Section("cost", "One session, one thread: the model of the CPU alone", COST_COLUMNS)
    session = opened(model)
    for tokens in (8, 16, 32, 64, 128, 256):
        if tokens > most_tokens:
            break
        row: Row = {"tokens": tokens}
        for column, batch in zip(COST_COLUMNS[1:], (1, 4, 16), strict=True):
            ids = np.random.default_rng(0).integers(0, 1000, (batch, tokens))
            feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            row[column] = _median_s(lambda feed=feed: session.run(OUTPUTS, feed)) / batch * 1e3  # type: ignore[misc]
        section.rows.append(row)
    return section


def _median_s(work: Callable[[], Any], least_s: float = 0.3) -> float:
    work()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < least_s:  # noqa: PLR2004 - a median of fewer is none
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return float(np.median(times))


def _plain(directory: Path) -> dict[str, ort.InferenceSession]:
    """Sessions as one writes them first."""
    sessions = {"plain session, ONNX Runtime's defaults": _with_defaults(directory / MODEL)}
    sessions["plain session, one thread"] = opened(directory / MODEL)
    if (directory / MODEL_FP32).exists():
        sessions["plain session, defaults, float32"] = _with_defaults(directory / MODEL_FP32)
    return sessions


def _with_defaults(model: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])


def _rows(
    name: str, session: ort.InferenceSession, traffic: Traffic, levels: Sequence[int], seconds: float
) -> list[Row]:
    share = ceiling.one_by_one(session, traffic.rows, seconds)
    times = np.array(share.times)
    rows: list[Row] = []
    for level in levels:
        waits = np.convolve(times, np.ones(level), "valid")
        rows.append(
            {
                "subject": name,
                "in_flight": level,
                "per_second": 1.0 / times.mean(),
                "p50_us": float(np.percentile(waits, 50)) * 1e6,
                "p99_us": float(np.percentile(waits, 99)) * 1e6,
                "cpu ms a request": share.busy_s * 1e3 / len(times),
                "mean_batch": 1.0,
            }
        )
    return rows


def _ceiling(model: Path, traffic: Traffic, seconds: float) -> Row:
    """All that the cores give to plain sessions."""
    free = sorted(os.sched_getaffinity(0)) if cores.PINNABLE else list(range(os.cpu_count() or 1))
    shares = ceiling.on_each_core(model, traffic.rows, seconds, free)
    times = np.concatenate([share.times for share in shares])
    return {
        "subject": f"{CEILING}, {len(free)} processes",
        "in_flight": len(free),
        "per_second": sum(len(share.times) / sum(share.times) for share in shares),
        "p50_us": float(np.percentile(times, 50)) * 1e6,
        "p99_us": float(np.percentile(times, 99)) * 1e6,
        "cpu ms a request": sum(share.busy_s for share in shares) * 1e3 / len(times),
        "mean_batch": 1.0,
    }


def _under_route(server: Server, traffic: Traffic, in_flight: int, seconds: float, workers: int) -> Row:
    payloads = [pb.RouteRequest(text=text).SerializeToString() for text in traffic.texts]
    # A connection stays with one worker, and the kernel deals them out by chance: many make it fair.
    client = FramesClient(server.address, ROUTE, max(in_flight, 8 * workers))
    busy = server.cpu_s()
    try:
        samples = closed_loop(client, payloads, in_flight, seconds, warm_up_s=WARM_UP_S)
    finally:
        client.close()
    replies = [pb.RouteResponse.FromString(body) for body in samples.bodies if body]
    batches = [reply.timings.batch_size for reply in replies]
    busy_ms = (server.cpu_s() - busy) * 1e3 * seconds / (seconds + WARM_UP_S)
    return {
        "subject": f"Route, {workers} worker(s)",
        "in_flight": in_flight,
        **summary(samples),
        "cpu ms a request": busy_ms / max(1, samples.good),
        "mean_batch": len(batches) / sum(1.0 / max(1, size) for size in batches) if batches else 0.0,
    }


def _ratios(rows: Sequence[Row]) -> list[str]:
    notes = []
    for row in rows:
        if not row["subject"].startswith("Route"):
            continue
        notes += [
            f"{row['subject']}, {row['in_flight']} in flight: {row['per_second'] / best['per_second']:.2f}x the requests "
            f"of the {best['subject']}"
            for best in rows
            if best["subject"].startswith(CEILING)
        ]
        for plain in rows:
            if not plain["subject"].startswith("plain") or plain["in_flight"] != row["in_flight"]:
                continue
            if row["p99_us"]:  # of too few calls there is none
                notes.append(
                    f"{row['subject']}, {row['in_flight']} in flight: {row['per_second'] / plain['per_second']:.2f}x the "
                    f"requests, {row['p99_us'] / plain['p99_us']:.2f}x the p99 and "
                    f"{row['cpu ms a request'] / plain['cpu ms a request']:.2f}x the processor time of the "
                    f"{plain['subject']}"
                )
    return notes


if __name__ == "__main__":
    main()

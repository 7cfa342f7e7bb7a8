"""Does the importer keep up? A writer appends decisions and outcomes to journals at a rate; the importer brings them into the store.

    PYTHONPATH=. python benchmarks/importing.py --directory /on/the/disk --url postgresql://... --delay-ms 1

The records are made beforehand, and appended by a process of its own, so the processor time is the importer's alone. With
--delay-ms the store stands behind a proxy that holds back every packet for half as long each way. Lag is how much later a
record is in the store than in the journal, by the rate.
"""

import asyncio
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.cores import choose
from benchmarks.machine import describe, lines
from benchmarks.samples import Row
from sidecar.ledger import segments
from sidecar.ledger.frames import Kind, frame
from sidecar.ledger.importer import Importer
from sidecar.ledger.lock import make
from sidecar.ledger.outcome import Outcome
from sidecar.ledger.records import DecisionBatch, encode
from sidecar.ledger.settings import LedgerConfig, location
from sidecar.ledger.stream import Stream

CANDIDATES, WIDTH = 14, 256  # of the default bundle
BATCH, PER_SECOND = 16, 20  # decisions of one batch; times a second that is written
NAMES = tuple(f"vendor/model-{number}" for number in range(CANDIDATES))
SEGMENTS = [f"tenant-{number}" for number in range(200)]


class Traffic:
    """What is written: for each twentieth of a second the frames of decisions and of outcomes."""

    def __init__(self, rate: int, seconds: int, began: float) -> None:
        self._rng = np.random.default_rng(1)
        self.slices: list[tuple[bytes, bytes]] = []
        each = rate // PER_SECOND
        for number in range(seconds * PER_SECOND):
            at = began + number / PER_SECOND
            ids = [int(at * 1000).to_bytes(6) + self._rng.bytes(10) for _ in range(each)]
            decisions = b"".join(
                frame(Kind.DECISIONS, [encode(self._decisions(ids[first : first + BATCH]))])
                for first in range(0, each, BATCH)
            )
            outcomes = frame(Kind.OUTCOMES, [encode([_outcome(name.hex(), at + 1.0) for name in ids])])
            self.slices.append((decisions, outcomes))

    def _decisions(self, ids: list[bytes]) -> DecisionBatch:
        size, rng = len(ids), self._rng
        return DecisionBatch(
            bundle=("default", "1", "ab" * 32),
            candidates=NAMES,
            models=NAMES,
            ids=b"".join(ids),
            segments=[SEGMENTS[int(place)] for place in rng.integers(0, len(SEGMENTS), size)],
            sessions=[""] * size,
            policies=["balanced"] * size,
            values=[0.01] * size,
            seconds=[0.0001] * size,
            chosen=rng.integers(0, CANDIDATES, size).tolist(),
            applied=[True] * size,
            current=[""] * size,
            propensity=[1.0] * size,
            reasons=["LEARNED"] * size,
            novelty=[0.4] * size,
            prompt_tokens=[180] * size,
            expected=rng.bytes(size * 4 * 4 * CANDIDATES),
            rankings=[bytes(range(CANDIDATES))] * size,
            width=WIDTH,
            embedding=rng.bytes(size * 2 * WIDTH),
        )


def _outcome(decision_id: str, at: float) -> Outcome:
    return Outcome(
        decision_id=decision_id,
        source="gateway",
        received=at,
        observed=at,
        key=f"~{decision_id[8:]}",
        model=NAMES[3],
        latency_ms=812.0,
        ttft_ms=210.0,
        input_tokens=180,
        output_tokens=240,
        cost_usd=0.0021,
    )


def write(directory: str, slices: list[tuple[bytes, bytes]], config: LedgerConfig, done: "Synchronized[int]") -> None:
    """Appends all slices in their time."""
    folder, writer = make(Path(directory)), segments.writer_name()
    streams = [Stream(folder, writer, name, config.segment_bytes) for name in ("decisions", "outcomes")]
    began, idle = time.monotonic(), threading.Event()
    for number, (decisions, outcomes) in enumerate(slices):
        idle.wait(max(0.0, began + number / PER_SECOND - time.monotonic()))
        streams[0].append(decisions, time.monotonic(), durable=False)
        streams[1].append(outcomes, time.monotonic(), durable=True)
        done.value = number + 1
    for stream in streams:
        stream.end()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Passes bytes on, each so much later than it came; many may be under way."""
    loop, under_way = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def read() -> None:
        while True:
            data = await reader.read(1 << 16)
            under_way.put_nowait((loop.time() + delay_s, data))
            if not data:
                return

    reading = asyncio.ensure_future(read())
    with suppress(ConnectionError):
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
    reading.cancel()
    writer.close()


async def _serve(path: str, delay_s: float, port: "Synchronized[int]") -> None:
    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(
            _pass_on(reader, there_writer, delay_s), _pass_on(there_reader, writer, delay_s), return_exceptions=True
        )

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    port.value = server.sockets[0].getsockname()[1]
    await server.serve_forever()


def _proxy(path: str, delay_s: float, port: "Synchronized[int]") -> None:
    asyncio.run(_serve(path, delay_s, port))


@contextmanager
def behind_proxy(url: str, delay_ms: float) -> Iterator[str]:
    """The URL of a PostgreSQL on a Unix socket, as seen through the proxy."""
    if not delay_ms:
        yield url
        return
    from psycopg import conninfo  # noqa: PLC0415 - for PostgreSQL only

    parts = conninfo.conninfo_to_dict(url)
    port: Synchronized[int] = multiprocessing.Value("i", 0)
    socket = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
    process = multiprocessing.Process(target=_proxy, args=(socket, delay_ms / 2000, port), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.01)
    user = f"{parts['user']}@" if parts.get("user") else ""
    yield f"postgresql://{user}127.0.0.1:{port.value}/{parts['dbname']}?sslmode=disable"
    process.terminate()
    process.join()


def keeping_up(config: LedgerConfig, rate: int, seconds: int) -> Row:
    """The figures of one run."""
    slices = Traffic(rate, seconds, time.time()).slices
    importer, stop = Importer(config), threading.Event()
    rows_before = importer.store().used_bytes()
    done: Synchronized[int] = multiprocessing.Value("i", 0)
    writer = multiprocessing.Process(target=write, args=(config.directory, slices, config, done), daemon=True)
    running = threading.Thread(target=importer.run, args=(stop,))
    writer.start()
    cpu, began, lag, idle = time.process_time(), time.monotonic(), array("d"), threading.Event()
    running.start()
    imported, amount = importer.imported, rate // PER_SECOND * len(slices)
    while writer.is_alive():
        idle.wait(0.1)
        written = done.value * (rate // PER_SECOND)
        lag.append(max(0.0, written - min(imported.decisions, imported.outcomes)) / rate)
    drained = time.monotonic()
    while min(imported.decisions, imported.outcomes) < amount and time.monotonic() < drained + 120.0:
        idle.wait(0.02)
    spent = time.monotonic() - began
    cpu = time.process_time() - cpu
    stop.set()
    running.join()
    after = Importer(config)
    used = after.store().used_bytes()
    after.close()
    rows = imported.decisions + imported.outcomes
    return {
        "subject": location(config)[0],
        "rows": rows,
        "missing": 2 * amount - rows,
        "seconds": spent,
        "rows_per_second": rows / spent,
        "lag_p50_s": float(np.percentile(lag, 50)),
        "lag_p99_s": float(np.percentile(lag, 99)),
        "lag_max_s": max(lag),
        "lag_last_s": lag[-1],
        "cpu_us_per_row": cpu / rows * 1e6,
        "cores": cpu / spent,
        "store_bytes_per_pair": (used - rows_before) / amount,
    }


@click.command()
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), help="On the disk that counts. [temporary]"
)
@click.option("--url", default="", help="Of the store; PostgreSQL on a Unix socket. [SQLite in the directory]")
@click.option("--delay-ms", default=0.0, show_default=True, help="Round trip of the network before PostgreSQL.")
@click.option("--keep-bytes", default=10 << 30, show_default=True, help="Retention at work meanwhile.")
@click.option("--rate", default=5000, show_default=True, help="Decisions, and outcomes, per second.")
@click.option("--seconds", default=60, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def main(
    directory: Path | None,
    url: str,
    delay_ms: float,
    keep_bytes: int,
    rate: int,
    seconds: int,
    json_path: Path | None,
) -> None:
    """Measure the importer under a steady load."""
    machine: dict[str, Any] = describe(choose())
    print("\n".join(lines(machine)))
    folder = Path(tempfile.mkdtemp(prefix="importing-", dir=directory))
    try:
        with behind_proxy(url, delay_ms) as seen:
            row = keeping_up(LedgerConfig(directory=str(folder), url=seen, keep_bytes=keep_bytes), rate, seconds)
    finally:
        shutil.rmtree(folder)
    row |= {"delay_ms": delay_ms, "rate": rate}
    for name, value in row.items():
        print(f"{name:<22} {value:.4g}" if isinstance(value, float) else f"{name:<22} {value}")
    if json_path:
        json_path.write_text(json.dumps({"machine": machine, "importing": row}, indent=2) + "\n")


if __name__ == "__main__":
    main()

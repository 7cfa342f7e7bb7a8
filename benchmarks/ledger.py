"""What the ledger costs: how many outcomes are acknowledged durably, how soon, and the processor time of a decision.

    PYTHONPATH=. python benchmarks/ledger.py --directory /on/the/disk/that/counts

The directory decides: an acknowledgement waits for that disk. CPU time is of this process, so a busy machine does little to it.
"""

import shutil
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import click
import numpy as np

from benchmarks.cores import choose
from benchmarks.machine import describe, lines
from benchmarks.report import Section, table, write_json
from benchmarks.samples import Row, microseconds
from sidecar.ledger.importer import Importer
from sidecar.ledger.journal import Journal
from sidecar.ledger.noted import Noted, Origin, Recorder
from sidecar.ledger.outcome import Outcome
from sidecar.ledger.settings import LedgerConfig
from sidecar.routing.ask import Ask
from sidecar.routing.decision import Choice, Expectations, Reason
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.policy import Terms

CANDIDATES, WIDTH = 14, 256  # of the default bundle
BATCHES = (1, 8, 32)
CALLERS = (1, 64, 1024)
NAMES = tuple(f"vendor/model-{number}" for number in range(CANDIDATES))
ORIGIN = Origin(("default", "1", "ab" * 32), NAMES, NAMES)


class Decisions:
    """Batches as the transport would note them."""

    def __init__(self) -> None:
        self._ids = DecisionIds(time.time)
        rng = np.random.default_rng(1)
        self._grid = rng.random((max(BATCHES), CANDIDATES))
        self._embedding = rng.standard_normal((max(BATCHES), WIDTH)).astype(np.float32)
        self._ask = Ask("x", "", "tenant/feature", "balanced", Terms(0.01), 180, np.inf, None, *(False, 0.0, 0.0))
        self._choice = Choice(list(range(CANDIDATES)), (Reason.LEARNED,), 0.4)

    def batch(self, size: int) -> Noted:
        """One batch; its arrays are its own, as they are in a worker."""
        grid = self._grid[:size]
        expected = Expectations(*(grid.copy() for _ in Expectations._fields))
        ids = self._ids.take(size).ids
        return Noted(ORIGIN, ids, [self._ask] * size, [self._choice] * size, expected, self._embedding[:size].copy())


def outcome(decision_id: str) -> Outcome:
    """What a gateway reports of an answer."""
    return Outcome(
        decision_id=decision_id,
        source="gateway",
        received=time.time(),
        key="answer",
        model=NAMES[3],
        latency_ms=812.0,
        ttft_ms=210.0,
        input_tokens=180,
        output_tokens=240,
        cost_usd=0.0021,
        error="",
    )


def acknowledgements(config: LedgerConfig, callers: int, seconds: float) -> Row:
    """Each caller reports its next outcome when the last one is acknowledged."""
    journal = Journal(config, Recorder(None))
    journal.start()
    ids, took = DecisionIds(time.time), array("d")
    ready: SimpleQueue[None] = SimpleQueue()
    for _ in range(callers):
        ready.put(None)

    def done(sent: float) -> Callable[[object], None]:
        def acknowledged(_: object) -> None:
            took.append(time.perf_counter() - sent)
            ready.put(None)

        return acknowledged

    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        ready.get()
        (decision_id,) = ids.take(1).ids
        journal.submit(outcome(decision_id), done(time.perf_counter()))
    spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    journal.close()
    counts = journal.counts()
    return {
        "subject": f"{callers} callers",
        "per_second": len(took) / spent,
        **microseconds(np.array(took)),
        "cpu_us_each": cpu / len(took) * 1e6,
        "outcomes_per_sync": counts.acknowledged / max(1, counts.syncs),
    }


def noting(config: LedgerConfig, size: int, rate: float, seconds: float) -> Row:
    """A transport notes batches at a rate; what that costs the transport, and what the journal's thread spends on it."""
    journal, decisions = Journal(config, Recorder(None)), Decisions()
    journal.start()
    spent = array("d")
    made = 0
    pause, idle = size / rate, threading.Event()
    other = 0.0
    began, cpu = time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) - began < seconds:
        at = time.thread_time()
        batch = decisions.batch(size)
        noted = time.perf_counter()
        journal.note(batch)
        spent.append(time.perf_counter() - noted)
        made += size
        idle.wait(max(0.0, began + made * pause / size - now))
        other += time.thread_time() - at
    journal.close()
    cpu = time.process_time() - cpu - other
    counts = journal.counts()
    note_us = float(np.median(spent)) * 1e6
    return {
        "subject": f"batches of {size}",
        "offered_per_second": made / seconds,
        "note_us_per_batch": note_us,
        "note_us_per_decision": note_us / size,
        "journal_cpu_us_per_decision": cpu / counts.decisions * 1e6,
        "dropped": sum(counts.dropped.values()),
    }


def importing(config: LedgerConfig, size: int, amount: int) -> Iterator[Row]:
    """What the importer spends on what the journal holds."""
    journal, decisions = Journal(config, Recorder(None)), Decisions()
    journal.start()
    ids: list[str] = []
    while len(ids) < amount:
        batch = decisions.batch(size)
        ids += batch.ids
        journal.note(batch)
        while journal._noted - journal._taken > config.max_decisions_waiting - size:  # noqa: SLF001 - so that none is dropped
            time.sleep(0.001)
    journal.close(60.0)
    yield _import(config, f"decisions, batches of {size}", amount)
    journal = Journal(config, Recorder(None))
    journal.start()
    for decision_id in ids[: config.max_outcomes_waiting]:
        journal.submit(outcome(decision_id), lambda _: None)
    journal.close(60.0)
    yield _import(config, "outcomes", min(amount, config.max_outcomes_waiting))


def _import(config: LedgerConfig, subject: str, amount: int) -> Row:
    importer = Importer(config)
    store = importer.store()
    used = store.used_bytes()
    began, cpu = time.perf_counter(), time.process_time()
    while importer.step().more:
        pass
    cpu, spent = time.process_time() - cpu, time.perf_counter() - began
    rows = importer.imported.decisions + importer.imported.outcomes
    row: Row = {
        "subject": subject,
        "rows": rows,
        "missing": amount - rows,
        "per_second": rows / spent,
        "import_cpu_us_per_row": cpu / max(1, rows) * 1e6,
        "store_bytes_per_row": (store.used_bytes() - used) / max(1, rows),
    }
    importer.close()
    return row


@click.command()
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), help="On the disk that counts. [temporary]"
)
@click.option("--url", default="", help="Of the store; PostgreSQL, for example. [SQLite in the directory]")
@click.option("--seconds", default=5.0, show_default=True, help="Of each measurement.")
@click.option("--amount", default=50_000, show_default=True, help="Decisions that are imported.")
@click.option("--rate", default=5000.0, show_default=True, help="Decisions per second that are noted.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def main(directory: Path | None, url: str, seconds: float, amount: int, rate: float, json_path: Path | None) -> None:
    """Measure the ledger."""
    machine = describe(choose())
    print("\n".join(lines(machine)))
    percentiles = ("p50_us", "p90_us", "p99_us")
    acks = Section(
        "acknowledgements",
        "How many outcomes are acknowledged durably, and how soon?",
        ("subject", "per_second", *percentiles, "cpu_us_each", "outcomes_per_sync"),
        notes=["the processor time holds the callers' own"],
    )
    notes = Section(
        "decisions",
        "What does a decision cost the worker?",
        (
            "subject",
            "offered_per_second",
            "note_us_per_batch",
            "note_us_per_decision",
            "journal_cpu_us_per_decision",
            "dropped",
        ),
        notes=[
            "the journal's thread competes with the transport's for the interpreter, so its processor time counts too"
        ],
    )
    imports = Section(
        "import",
        "What does the importer, another process, spend on it?",
        ("subject", "rows", "missing", "per_second", "import_cpu_us_per_row", "store_bytes_per_row"),
    )
    root = Path(tempfile.mkdtemp(prefix="ledger-", dir=directory))

    def fresh(name: str) -> LedgerConfig:
        return LedgerConfig(directory=str(root / name), url=url, free_bytes=0)

    try:
        acks.rows += [acknowledgements(fresh(f"a{callers}"), callers, seconds) for callers in CALLERS]
        notes.rows += [noting(fresh(f"n{size}"), size, rate, seconds) for size in BATCHES]
        for size in BATCHES[::2]:
            imports.rows += importing(fresh(f"i{size}"), size, amount)
    finally:
        shutil.rmtree(root)
    for section in (acks, notes, imports):
        print(table(section))
    if json_path:
        write_json(json_path, machine, (acks, notes, imports))


if __name__ == "__main__":
    main()

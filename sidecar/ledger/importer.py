"""Brings the journals of all workers, living and dead, into the store."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sidecar.errors import RouterError
from sidecar.faults import place
from sidecar.ledger import segments
from sidecar.ledger.aside import Aside
from sidecar.ledger.frames import Frame
from sidecar.ledger.lock import DirectoryLock, make
from sidecar.ledger.records import Record, Unreadable, decode, encode
from sidecar.ledger.retention import Retention
from sidecar.ledger.rows import Added, Import
from sidecar.ledger.segments import Segment
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import Store, Unacceptable, open_store
from sidecar.ledger.strays import Strays
from sidecar.ledger.tail import State, read, salvaged

log = logging.getLogger(__name__)

LOCK = "importer.lock"
# Of one transaction: enough to share its costs, few enough that others get at the store in between.
MOST_ROWS = 4096
FIRST_DELAY_S, MOST_DELAY_S = 0.5, 30.0


@dataclass
class Imported:
    """What an importer did since it began.

    Attributes:
        decisions: added.
        outcomes: added.
        repeated: outcomes that were there already.
        unknown: outcomes whose decision was not there a minute later; see strays.
        set_aside: records that the store refused or nobody could read; they lie in the file `refused`.
        spoilt: segments that were changed after they were written; what is whole in them is imported, and they are kept
            beside the others, as *.corrupt.
        torn_bytes: that writers had not finished when they were killed, and nobody was told of.
        backlog_bytes: that are not imported yet.
        away: why the store cannot be had; empty if it can.
    """

    decisions: int = 0
    outcomes: int = 0
    repeated: int = 0
    unknown: int = 0
    set_aside: int = 0
    spoilt: int = 0
    torn_bytes: int = 0
    backlog_bytes: int = 0
    away: str = ""


class Step(NamedTuple):
    """One step of the importer.

    Attributes:
        decisions: added.
        outcomes: added.
        more: whether there is more to do at once.
    """

    decisions: int
    outcomes: int
    more: bool


@dataclass
class _Gathered:
    batch: Import = field(default_factory=Import)
    records: list[tuple[int, Record]] = field(default_factory=list)
    unreadable: list[Frame] = field(default_factory=list)
    # What becomes of segments once the batch is in the store.
    ended: list[tuple[Path, State]] = field(default_factory=list)
    more: bool = False

    def take(self, frame: Frame) -> None:
        try:
            record = decode(frame)
            self.batch.add(record)
        except Unreadable:
            self.unreadable.append(frame)
        else:
            self.records.append((frame.kind, record))


class Importer:
    """Imports every record once: positions in the journals are kept in the store, in the transaction of the records.

    Args:
        config: with a directory.
        connect: opens the store.
        clock: monotonic seconds.

    Attributes:
        imported: what was done.

    Raises:
        ConfigError: the directory cannot be used, or another sidecar imports from it.
    """

    def __init__(
        self,
        config: LedgerConfig,
        connect: Callable[[], Store] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        directory = Path(config.directory)
        self._folder = make(directory)
        self._lock = DirectoryLock(directory, LOCK)
        self._aside = Aside(directory)
        self._connect = connect or (lambda: open_store(config))
        self._retention = Retention(config)
        self._store: Store | None = None
        self._positions: dict[str, int] = {}
        self._foreign: set[str] = set()
        self._strays = Strays()
        self.imported = Imported()

    def store(self) -> Store:
        """The store, opened and migrated if need be.

        Raises:
            StoreAway: it does not answer.
            StoreError: it cannot be used.
        """
        if self._store is None:
            store = self._connect()
            try:
                store.migrate()
                self._positions = store.positions()
            except BaseException:
                store.close()
                raise
            self._store = store
        return self._store

    def step(self) -> Step:
        """Imports what there is, up to some thousand records.

        Raises:
            StoreAway: the store does not answer; nothing is lost, the next step tries again.
            StoreError: the store cannot be used.
        """
        try:
            store = self.store()
            gathered = self._gather()
            added = self._add(store, gathered)
            self._finish(store, gathered)
        except RouterError:
            self._hang_up()  # a connection that failed is not used again
            raise
        return Step(added.decisions, added.outcomes, gathered.more)

    def run(self, stop: threading.Event, interval_s: float = 0.25) -> None:
        """Imports, and deletes what is old, until it is stopped; then imports what is left, once.

        Args:
            stop: ends it.
            interval_s: seconds between two looks at the journals.
        """
        delay_s = 0.0
        while not stop.wait(delay_s):
            try:
                more = self.step().more
                if not more and self._store is not None:
                    more = self._retention.step(self._store, time.time())
                    self._strays.step(self._store, self._clock(), MOST_ROWS)
                    self.imported.unknown = self._strays.unknown
            except Exception as error:  # noqa: BLE001 - whatever happens, it tries again
                delay_s = min(max(FIRST_DELAY_S, 2 * delay_s), MOST_DELAY_S)
                self._away(error)
                continue
            if self.imported.away:
                log.warning("ledger: the store is back")
                self.imported.away = ""
            delay_s = 0.0 if more else interval_s
        with suppress(RouterError):
            while self.step().more:
                pass
        self.close()

    def close(self) -> None:
        """Lets go of the store and the directory."""
        self._hang_up()
        self._lock.close()

    def _away(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, RouterError) else place(error)
        if reason != self.imported.away:
            log.error("ledger: nothing is imported; the journals keep it: %s", reason)
        self.imported.away = reason
        self._hang_up()

    def _hang_up(self) -> None:
        if self._store is not None:
            with suppress(RouterError):
                self._store.close()
            self._store = None

    def _gather(self) -> _Gathered:
        gathered = _Gathered()
        backlog = 0
        # Outcomes first: decisions are what may be dropped if there is no room.
        for segment in sorted(segments.segments(self._folder), key=lambda segment: "-decisions" in segment.path.name):
            if len(gathered.batch) >= MOST_ROWS:
                gathered.more = True
                backlog += max(0, segment.size - self._positions.get(segment.path.name, 0))
                continue
            with suppress(FileNotFoundError):
                backlog += self._take(segment, gathered)
        segments.tidy(self._folder, time.time())
        self.imported.backlog_bytes = backlog
        return gathered

    def _take(self, segment: Segment, gathered: _Gathered) -> int:
        name = segment.path.name
        reading = read(segment.path, self._positions.get(name, 0))
        for frame in reading.frames:
            gathered.take(frame)
        if reading.frames:
            gathered.batch.positions[name] = reading.position
        if reading.state is State.SPOILT and (behind := salvaged(segment.path, reading.position)):
            for frame in behind:
                gathered.take(frame)
            gathered.batch.positions[name] = behind[-1].end
        if reading.state in (State.DONE, State.TORN, State.SPOILT):
            gathered.ended.append((segment.path, reading.state))
            self.imported.torn_bytes += reading.rest if reading.state is State.TORN else 0
            return 0
        gathered.more |= reading.state is State.MORE
        if reading.state is State.FOREIGN and name not in self._foreign:
            self._foreign.add(name)
            log.error("ledger: %s is of another version of router-sidecar, and is left alone", name)
        return reading.rest

    def _add(self, store: Store, gathered: _Gathered) -> Added:
        batch = gathered.batch
        for frame in gathered.unreadable:
            self._set_aside(frame.kind, frame.payload, "nobody can read it; was it written by another version?")
        if not batch.positions:
            return Added(0, 0)
        try:
            added = store.add(batch)
        except Unacceptable:
            added = self._one_by_one(store, gathered)
        self._aside.settle()
        self._positions.update(batch.positions)
        self.imported.decisions += added.decisions
        self.imported.outcomes += added.outcomes
        self.imported.repeated += len(batch.outcomes) - added.outcomes
        self._strays.take([row[0] for row in batch.outcomes], self._clock())
        return added

    def _one_by_one(self, store: Store, gathered: _Gathered) -> Added:
        """Adds what the store takes, and sets the rest aside."""
        decisions = outcomes = 0
        for kind, record in gathered.records:
            # A group of outcomes is of many callers; a batch of decisions has no parts of its own.
            for piece in [[outcome] for outcome in record] if isinstance(record, list) else [record]:
                single = Import()
                single.add(piece)
                try:
                    added = store.add(single)
                except Unacceptable as error:
                    self._set_aside(kind, encode(piece), str(error))
                    continue
                decisions, outcomes = decisions + added.decisions, outcomes + added.outcomes
        store.add(Import(positions=gathered.batch.positions))
        return Added(decisions, outcomes)

    def _set_aside(self, kind: int, payload: bytes | memoryview, reason: str) -> None:
        if self._aside.put(kind, payload):
            self.imported.set_aside += 1
            log.error("ledger: a record is set aside in the file `refused`: %s", reason)

    def _finish(self, store: Store, gathered: _Gathered) -> None:
        """Removes segments that are imported to their end."""
        gone = []
        for path, state in gathered.ended:
            if state is State.SPOILT:
                self.imported.spoilt += 1
                log.error("ledger: %s was changed after it was written, and is kept as *.corrupt", path.name)
                path.rename(path.with_suffix(segments.CORRUPT))
            else:
                path.unlink(missing_ok=True)
            self._positions.pop(path.name, None)
            gone.append(path.name)
        if gone:
            store.forget(gone)

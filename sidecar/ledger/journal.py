"""A worker's journal: outcomes are acknowledged when they are on the disk, decisions follow when there is time.

One thread writes. While it waits for the disk, outcomes gather; then all of them share the next write and the next sync
(group commit), so the disk's latency bounds how soon an outcome is acknowledged, not how many are. The hot path only appends
to a deque: it takes no lock, wakes nobody and encodes nothing.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sidecar.errors import RouterError, Unavailable
from sidecar.faults import place
from sidecar.ledger import records, segments
from sidecar.ledger.frames import Kind, frame
from sidecar.ledger.lock import make
from sidecar.ledger.noted import Noted
from sidecar.ledger.outcome import Outcome, checked
from sidecar.ledger.records import DecisionBatch, Drops
from sidecar.ledger.room import Room
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.stream import Stream

log = logging.getLogger(__name__)

# Of one group commit; what is more waits for the next.
MOST_GROUP, MOST_GROUP_BYTES = 4096, 8 << 20
# Batches of decisions that are written between two looks at the outcomes.
MOST_BATCHES = 256
ENDING = "ledger: this worker is ending; send the outcome again, another one takes it."
Done = Callable[[RouterError | None], None]


class Counts(NamedTuple):
    """What a journal did since it began.

    Attributes:
        decisions: written.
        dropped: decisions that were not, by reason; see records.Drops.
        acknowledged: outcomes.
        refused: outcomes.
        syncs: groups of outcomes that were made durable.
        waiting: outcomes that wait.
    """

    decisions: int
    dropped: dict[str, int]
    acknowledged: int
    refused: int
    syncs: int
    waiting: int


class Journal:
    """Writes one worker's records.

    Args:
        config: with a directory.
        record: makes records of what was noted; called in the journal's thread.
        clock: monotonic seconds.
        unix_seconds: the time of day.

    Raises:
        ConfigError: the directory cannot be made or written.
    """

    def __init__(
        self,
        config: LedgerConfig,
        record: Callable[[Sequence[Noted]], Iterable[DecisionBatch]],
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_seconds: Callable[[], float] = time.time,
    ) -> None:
        folder = make(Path(config.directory))
        self.writer = segments.writer_name()
        self._record = record
        self._clock, self._unix_seconds = clock, unix_seconds
        self._flush_s = config.flush_ms / 1000
        self._most_decisions, self._most_outcomes = config.max_decisions_waiting, config.max_outcomes_waiting
        self._batches: deque[Noted] = deque()
        self._outcomes: deque[tuple[bytes, Done]] = deque()
        self._room = Room(folder, config.journal_bytes, config.free_bytes)
        self._streams = {
            name: Stream(folder, self.writer, name, config.segment_bytes) for name in ("outcomes", "decisions")
        }
        self._wake = threading.Event()
        self._closed = self._ended = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._decisions = self._acknowledged = self._syncs = 0
        # Their difference waits: the transport's thread adds to the one, the journal's to the other, so neither needs a lock.
        self._noted = self._taken = 0
        # Each counter has one writer: the transport's thread the first of both, the journal's thread the others.
        self._dropped = {"queue": 0, "room": 0, "write": 0}
        self._refused_at_once = self._refused = 0
        self._told = dict.fromkeys(self._dropped, 0)
        self._fault = ""

    def start(self) -> None:
        """Begins to write."""
        self._room.look(self._clock())
        self._thread.start()

    def note(self, noted: Noted) -> None:
        """Takes a batch of decisions; drops it, and counts that, if too many wait. Only ever called by one thread."""
        size = len(noted.ids)
        if self._noted - self._taken + size <= self._most_decisions and not self._closed:
            self._noted += size
            self._batches.append(noted)
        else:
            self._dropped["queue"] += size

    def submit(self, outcome: Outcome, done: Done) -> None:
        """Takes an outcome. May be called by any thread.

        Args:
            outcome: as it came.
            done: called once, by the journal's thread, with None as soon as it is on the disk, or with the reason why
                it is not known to be. It must be quick: others wait behind it.

        Raises:
            InvalidRequest: the outcome cannot be kept; the message names the field.
            Unavailable: there is no room, or too many wait; it was not taken.
        """
        encoded = records.encode(checked(outcome))
        if refusal := self._refusal():
            self._refused_at_once += 1
            raise Unavailable(refusal)
        self._outcomes.append((encoded, done))
        if not self._wake.is_set():
            self._wake.set()
        if self._ended:
            self._turn_away()

    def counts(self) -> Counts:
        """What was done since the start."""
        refused = self._refused + self._refused_at_once
        return Counts(
            self._decisions, dict(self._dropped), self._acknowledged, refused, self._syncs, len(self._outcomes)
        )

    def close(self, patience_s: float = 5.0) -> None:
        """Writes what waits, and ends. What is submitted from now on is refused."""
        self._closed = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(patience_s)

    def _refusal(self) -> str:
        if self._closed:
            return ENDING
        if len(self._outcomes) >= self._most_outcomes:
            return f"ledger: {self._most_outcomes} outcomes wait for the disk (ledger.max_outcomes_waiting); try again."
        return self._room.refusal

    def _run(self) -> None:
        due = self._clock() + self._flush_s
        while True:
            self._wake.wait(max(0.0, due - self._clock()))
            # First of all: whoever adds something from now on sets it again.
            self._wake.clear()
            closed = self._closed
            now = self._clock()
            self._room.look(now)
            if self._outcomes:
                self._commit(now)
            if closed or now >= due:
                due = now if self._write_behind(now) else now + self._flush_s
                for stream in self._streams.values():
                    stream.age(now)
            if self._outcomes or (closed and self._batches):
                self._wake.set()
            elif closed:
                break
        for stream in self._streams.values():
            stream.end()
        self._ended = True
        self._turn_away()

    def _turn_away(self) -> None:
        """Answers outcomes that came in the moment of the end."""
        while True:
            try:
                _, done = self._outcomes.popleft()
            except IndexError:
                return
            done(Unavailable(ENDING))

    def _commit(self, now: float) -> None:
        group: list[tuple[bytes, Done]] = []
        size = 0
        while self._outcomes and len(group) < MOST_GROUP and size < MOST_GROUP_BYTES:
            group.append(self._outcomes.popleft())
            size += len(group[-1][0])
        fault = self._room.refusal
        if not fault:
            data = frame(Kind.OUTCOMES, records.list_of([encoded for encoded, _ in group]))
            fault = self._append("outcomes", data, now, durable=True)
        if fault:
            self._refused += len(group)
        else:
            self._syncs += 1
            self._acknowledged += len(group)
        error = Unavailable(fault) if fault else None
        for _, done in group:
            try:
                done(error)
            except Exception as unexpected:  # noqa: BLE001 - one caller's fault is not the others'
                log.error("an acknowledgement could not be delivered: %s", place(unexpected))  # noqa: TRY400

    def _write_behind(self, now: float) -> bool:
        """Writes what was noted; says whether there is more of it."""
        taken = [self._batches.popleft() for _ in range(min(len(self._batches), MOST_BATCHES))]
        size = sum(len(batch.ids) for batch in taken)
        self._taken += size
        if self._room.decisions:
            self._tell_drops(now)
            if taken:
                self._write(taken, now)
        else:
            self._dropped["room"] += size
        return bool(self._batches)

    def _write(self, taken: Sequence[Noted], now: float) -> None:
        try:
            made = [batch for batch in self._record(taken) if batch.ids]
            data = b"".join([frame(Kind.DECISIONS, [records.encode(batch)]) for batch in made])
        except Exception as error:  # noqa: BLE001 - whatever was noted, the journal goes on
            log.error("decisions could not be recorded: %s", place(error))  # noqa: TRY400 - it may quote a prompt
            self._dropped["write"] += sum(len(batch.ids) for batch in taken)
            return
        rows = sum(len(batch.segments) for batch in made)
        if self._append("decisions", data, now, durable=False):
            self._dropped["write"] += rows
        else:
            self._decisions += rows

    def _tell_drops(self, now: float) -> None:
        for reason, amount in list(self._dropped.items()):
            if fresh := amount - self._told[reason]:
                drops = Drops(at=self._unix_seconds(), amount=fresh, reason=reason, writer=self.writer)
                if not self._append("decisions", frame(Kind.DROPS, [records.encode(drops)]), now, durable=False):
                    self._told[reason] = amount

    def _append(self, stream: str, data: bytes, now: float, *, durable: bool) -> str:
        """Writes to a stream; gives the reason if it could not, else an empty string."""
        try:
            self._streams[stream].append(data, now, durable=durable)
        except OSError as error:
            fault = f"ledger: the journal cannot be written: {error.strerror or error}; see to ledger.directory, and send it again."
            if not self._fault:
                log.error("%s", fault)  # noqa: TRY400 - all is said
            self._fault = fault
            return fault
        if self._fault:
            log.warning("ledger: the journal can be written again")
            self._fault = ""
        self._room.add(len(data))
        return ""

"""A worker's part in the fleet: what it decided and heard, and what all processes together know."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import ConfigError
from sidecar.fleet.admission import Admission
from sidecar.fleet.breaker import Breaker
from sidecar.fleet.columns import (
    COLUMNS,
    EXPIRED,
    IN_FLIGHT,
    LIMITS_AT,
    STARTED,
    TOKENS_IN_FLIGHT,
    TOKENS_STARTED,
)
from sidecar.fleet.hearing import Hearing
from sidecar.fleet.layout import EPOCH
from sidecar.fleet.limits import exhaust
from sidecar.fleet.outcome import Outcome, key_of_model, origin_of, process_of
from sidecar.fleet.publisher import Publisher
from sidecar.fleet.reader import Reader
from sidecar.fleet.reckoning import Reckoning
from sidecar.fleet.relay import Relay
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable, key_of
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.writer import Writer

SWEEP_S = 0.2
# Until what one process published was surely seen by the next.
TURN_MERGES = 3.0
# Telemetry that waits for the transport's thread; what is older is out of date anyway.
MOST_REPORTS = 1024


class LiveFleet:
    """What a worker knows of the fleet. All but `report` and `writer.beat` belong to the transport's thread.

    Args:
        table: the fleet's.
        number: the worker's, from 0: the section to try first.
        settings: checked.
        clock: monotonic seconds; every `now` is a reading of it.
        unix: Unix seconds.
        chance: a random number in [0, 1).

    Attributes:
        process: what DecisionIds takes as `process`, so that outcomes find back here.
        writer: this worker's section.
        reckoning: its calls in flight, by row.
        block: [W, n, COLUMNS] all processes' rows as of the last merge, this one's last; n rows in the order of its own.
        alive: [W] which of them live.
        peers: where among them is what was heard of other sidecars; -1: nothing was, or too long ago.
        admission: which candidates may be chosen, [n].
        version: of these; changes with every merge.
        heard: changes with a merge that brought more than what this process has decided since the one before.

    Raises:
        ConfigError: all sections are taken.
    """

    def __init__(
        self,
        table: FleetTable,
        number: int,
        settings: FleetConfig,
        *,
        clock: Callable[[], float],
        unix: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.writer = Writer(table, number, clock)
        self.process = process_of(self.writer.number, self.writer.epoch)
        self.reckoning = Reckoning(table.names, settings)
        self._table = table
        self._relay = Relay(self.writer, self.process)
        self._breaker = Breaker(self.writer.cells, settings.breaker, chance, TURN_MERGES * settings.merge_ms / 1000.0)
        self._publisher = Publisher(self.writer, settings, clock, unix)
        self._reports: deque[tuple[str, Telemetry]] = deque(maxlen=MOST_REPORTS)
        self._hearing = Hearing(self.writer, self.reckoning, self._breaker, settings)
        self._rows: dict[str, int] = {}
        self._keys: dict[float, int] = {}  # rows by keys of models
        self._expired_before = self.writer.rows[:, EXPIRED].copy()
        self._merge_s = settings.merge_ms / 1000.0
        self._due = self._sweep_due = 0.0
        self._published = -1  # reckoning.moves as of the last time
        self._published_at = 0.0
        self._stale = True  # something has changed that must not wait for the next merge
        self._reader = Reader(table, self.writer.names(), without=self.writer.number, spare=1)
        self.version = self.heard = 0
        self._learned = True  # this process did more than decide
        self._reads = -1  # of the reader, as of the last merge
        self._expirations = -1  # of the reckoning, as of the last time
        self._living: list[bool] = []
        self._rank = 0
        self._limited = False  # a provider has stated a limit
        self.block: NDArray[np.float64] = np.zeros((1, 0, COLUMNS))
        self.alive: NDArray[np.bool_] = np.ones(1, np.bool_)
        self.peers = -1
        self.admission = Admission.of_all(0)
        self._refresh(clock())

    def check(self, names: Sequence[str]) -> None:
        """Sees to it that `enter` will succeed; from any thread.

        Raises:
            ConfigError: a name is unusable, or there are too many.
        """
        new = {key_of(name) for name in names}.difference(self._table.label(self.writer.number))
        if len(self._table.label(self.writer.number)) + len(new) > self._table.names:
            raise ConfigError(
                f"fleet.max_names: there is room for {self._table.names} candidates and budgets in a worker's life, and "
                f"{len(new)} more do not fit; raise it, or restart."
            )

    def enter(self, names: Sequence[str], now: float) -> NDArray[np.intp]:
        """The rows of some names, new ones among them.

        Raises:
            ConfigError: a name is unusable, or there are too many.
        """
        rows = np.array([self.writer.row(name) for name in names], np.intp)
        self._reader = Reader(self._table, self.writer.names(), without=self.writer.number, spare=1)
        self._rows.update(zip(names, rows.tolist(), strict=True))
        self._keys = {key_of_model(name): row for name, row in self._rows.items()}
        self._learned = True
        self._refresh(now)
        return rows

    def decided(self, number: int, row: int, tokens: float, seconds: float, wait_seconds: float, now: float) -> None:
        """A decision was made; see Reckoning.add."""
        self.reckoning.add(number, row, tokens, seconds, wait_seconds, now)
        cells, base = self.writer.cells, row * COLUMNS
        cells[base + STARTED] += 1.0
        cells[base + TOKENS_STARTED] += tokens
        if not self.admission.plain:
            self._breaker.began(row, now)
            # A probe: nobody else may think that there is room for another.
            self._stale |= bool(self.admission.quota[row] != np.inf)

    def hear(self, decision_id: str, outcome: Outcome, now: float, model: str = "") -> bool:
        """A call has ended, or its first token has come.

        Args:
            decision_id: of the decision that led to it.
            outcome: what became of it. Of two about the same decision and model the second changes nothing.
            now: monotonic seconds.
            model: that was called; a name that is no candidate's is as good as none: the decided one, by a provider's own
                name.

        Returns:
            Whether it counts, here or in the worker that decided. It does not if the decision is unknown: heard of
            before, too long ago, of a worker that is gone, or of another sidecar.
        """
        origin = origin_of(decision_id)
        row = self._rows.get(model, -1)
        if origin is not None:
            if origin.process == self.process:
                counts = self._hearing.take(origin.number, outcome, row, now)
                self._heed()
                return counts
            writer = origin.writer
            if (
                writer < self._table.writers
                and self._table.control[writer, EPOCH] == origin.epoch
                and now - self._table.heartbeats[writer] < self.settings.dead_after_seconds
            ):
                self._relay.send(origin, outcome, key_of_model(model) if row >= 0 else 0.0)
                return True
        if row >= 0 and outcome.ended and outcome.latency_seconds >= 0.0:
            self._hearing.learn(row, outcome, None, now - outcome.latency_seconds, now)
            self._heed()
            return True
        return False

    def report(self, model: str, telemetry: Telemetry) -> None:
        """Telemetry came, as of a call of ReportLoad; from any thread. It is published with the next merge.

        Raises:
            ConfigError: the name is unusable, or there are too many.
        """
        self.check([model])
        self._reports.append((model, telemetry))

    def publish(self, now: float, spare_s: float = 0.0) -> None:
        """Lets the others see what this worker decided and heard, unless it did less than `spare_s` seconds ago."""
        if self.reckoning.moves != self._published and now >= self._published_at + spare_s:
            self._publish(now)

    def refresh(self, now: float, spare_s: float = 0.0) -> None:
        """Merges what all processes know, if that has been due for `spare_s` seconds.

        To be called after each batch and a few times a second else; and before each batch with some to spare, so that as a
        rule nobody waits for it.
        """
        if now >= self._due + spare_s or self._stale:
            self._refresh(now)

    def close(self) -> None:
        """Leaves the section to a successor."""
        self._refresh(self._due)
        self.writer.close()

    def _refresh(self, now: float) -> None:
        for number, outcome, model in self._relay.receive():
            self._hearing.take(number, outcome, self._keys.get(model, -1), now)
            self._learned = True
        while self._reports:
            self._learned = True
            with suppress(ConfigError):  # it was checked, but others may have taken the last row since
                self._publisher.publish(*self._reports.popleft())
        if now >= self._sweep_due:
            self._sweep(now)
        self._publish(now)
        reader, writer = self._reader, self.writer
        self.block = block = reader.read()
        block[-1] = writer.rows[: block.shape[1]]
        beats, latest = self._table.beats, now - self.settings.dead_after_seconds
        living = [beats[place] > latest for place in reader.beats]
        news = self._learned or reader.reads != self._reads or living != self._living
        if news:
            self._learned, self._reads, self._living = False, reader.reads, living
            self.heard += 1
            self.alive = np.array([*living, True])
            self._rank = int((self.alive[:-1] & (reader.writers < writer.number)).sum())
            self.peers = reader.peers if reader.peers >= 0 and living[reader.peers] else -1
            self._limited = bool(block[:, :, LIMITS_AT].any())
        # Where nobody is in anybody's way, that stays so until there are news; only limits are used up by decisions.
        if news or self._limited or not self.admission.plain:
            self.admission = self._breaker.merge(block, self.alive, self._rank, now)
            if self._limited:
                self.admission = exhaust(block, self.admission, now)
        self._due = now + self._merge_s
        self._stale = self._hearing.changed = False
        self.version += 1

    def _sweep(self, now: float) -> None:
        self._sweep_due = now + SWEEP_S
        self._hearing.sweep(self.block, self.alive, now)
        self._learned = True

    def _heed(self) -> None:
        self._learned = True
        self._stale |= self._hearing.changed

    def _publish(self, now: float) -> None:
        writer, reckoning = self.writer, self.reckoning
        amount = len(self.block[0])
        rows = writer.rows[:amount]
        rows[:, IN_FLIGHT : TOKENS_IN_FLIGHT + 1] = reckoning.open[:amount]
        if reckoning.expirations != self._expirations:
            self._expirations = reckoning.expirations
            rows[:, EXPIRED] = self._expired_before[:amount] + reckoning.expired[:amount]
        writer.publish()
        self._table.beat(writer.number, now)
        self._published = reckoning.moves
        self._published_at = now

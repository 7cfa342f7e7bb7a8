"""What this sidecar has to tell: the sums of its own processes."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import ConfigError
from sidecar.fleet.admission import Admission
from sidecar.fleet.breaker import NEVER, Change
from sidecar.fleet.budget import PREFIX
from sidecar.fleet.columns import (
    CAUSE,
    CHANGED_AT,
    COLUMNS,
    COOL_UNTIL,
    DAY,
    IN_FLIGHT,
    STARTED,
    TOKENS_IN_FLIGHT,
    TOKENS_STARTED,
    USD,
)
from sidecar.fleet.layout import IDENTITY
from sidecar.fleet.limits import exhaust
from sidecar.fleet.peers.message import Row
from sidecar.fleet.reader import Reader
from sidecar.fleet.table import FleetTable, key_of

# Over about so long it is counted who makes how many decisions.
RATE_S = 1.0

Column = NDArray[np.float64]


class Own(NamedTuple):
    """This sidecar at one moment.

    Attributes:
        at: when, monotonic seconds.
        names: [C] of candidates and budgets, those that only others know among them, in the order of the columns; only
            ever more.
        in_flight: [C] calls.
        rows: by name, of those that a process of this sidecar knows.
        changes: by name, the latest change of the breaker that a process of this sidecar made.
        spent: USD by name of a budget's row, on `day`.
        day: days since 1970.
    """

    at: float
    names: tuple[str, ...]
    in_flight: Column
    rows: dict[str, Row]
    changes: dict[str, Change]
    spent: dict[str, float]
    day: int


class Then(NamedTuple):
    """What is remembered of a count.

    Attributes:
        at: when it was taken, monotonic seconds.
        in_flight: [C'] calls, of the candidates that were known.
        recent: decisions made lately; see Rate.
    """

    at: float
    in_flight: Column
    recent: float


class Rate:
    """How many decisions somebody made lately.

    Attributes:
        recent: decisions, decayed by half each RATE_S.
    """

    def __init__(self) -> None:
        self.recent = 0.0
        self._total = -1.0
        self._at = 0.0

    def take(self, total: float, at: float) -> None:
        """Some time later.

        Args:
            total: decisions since the start.
            at: seconds, by any one clock.
        """
        if self._total >= 0.0:
            self.recent *= 0.5 ** (max(0.0, at - self._at) / RATE_S)
            self.recent += max(0.0, total - self._total)
        self._total, self._at = total, at


class Census:
    """Adds up the sections of all processes, but not what was heard of other sidecars.

    Args:
        table: the fleet's.
        dead_after_s: a process that was silent for so long has nothing in flight.
        keep: how many counts are remembered.
    """

    def __init__(self, table: FleetTable, dead_after_s: float, keep: int) -> None:
        self._table = table
        self._dead_after_s = dead_after_s
        self._names: list[str] = []
        self._ours: set[str] = set()
        self._seen = b""
        self._reader = Reader(table, [])
        self._rate = Rate()
        self._before: deque[Then] = deque(maxlen=keep)

    def take(self, now: float, unix: float, theirs: NDArray[np.float64]) -> Own:
        """Counts.

        Args:
            now: monotonic seconds.
            unix: Unix seconds.
            theirs: [C', COLUMNS] what was heard of other sidecars, of as many candidates as were known then. What a
                provider said of its limits holds for all together.
        """
        self._learn()
        names = self._names
        block = self._reader.read()
        alive = now - self._table.heartbeats[self._reader.writers] < self._dead_after_s
        in_flight = alive @ block[:, :, IN_FLIGHT]
        day = int(unix // 86400.0)
        spent = np.where(block[:, :, DAY] == day, block[:, :, USD], 0.0).sum(axis=0).tolist()
        counts = zip(
            names,
            in_flight.tolist(),
            (alive @ block[:, :, TOKENS_IN_FLIGHT]).tolist(),
            block[:, :, STARTED].sum(axis=0).tolist(),
            block[:, :, TOKENS_STARTED].sum(axis=0).tolist(),
            _latest(block),
            self._cool(block, theirs, now).tolist(),
            strict=True,
        )
        rows = {
            name: Row(
                calls,
                tokens,
                started,
                tokens_started,
                change.at,
                change.kind,
                change.until,
                change.level,
                cool_until,
                change.cause,
            )
            for name, calls, tokens, started, tokens_started, change, cool_until in counts
            if name in self._ours
        }
        decided = sum(row.started for name, row in rows.items() if not name.startswith(PREFIX))
        self._rate.take(decided, now)
        self._before.append(Then(now, in_flight, self._rate.recent))
        return Own(
            now,
            tuple(names),
            in_flight,
            rows,
            {name: Change(row.changed_at, row.kind, row.until, row.level, row.cause) for name, row in rows.items()},
            {name: usd for name, usd in zip(names, spent, strict=True) if usd},
            day,
        )

    def learn(self, names: Iterable[str]) -> None:
        """Others know these. Workers may meet them at any time, and should know then what others know.

        Half of the room is kept for what workers do meet.
        """
        new = [name for name in sorted(set(names).difference(self._names)) if _usable(name)]
        if room := max(0, self._table.names // 2 - len(self._names)):
            self._names += new[:room]
            self._seen = b""

    def then(self, at: float) -> Then:
        """What would have been counted at some moment, as far as that is remembered; between two counts, in proportion."""
        found = self._before[0]
        for counted in self._before:
            if counted.at >= at:
                if found.at < at:
                    part = (at - found.at) / (counted.at - found.at)
                    start = np.zeros_like(counted.in_flight)
                    start[: len(found.in_flight)] = found.in_flight
                    calls = start + part * (counted.in_flight - start)
                    return Then(at, calls, found.recent + part * (counted.recent - found.recent))
                return found
            found = counted
        return found

    def _cool(self, block: NDArray[np.float64], theirs: NDArray[np.float64], now: float) -> Column:
        """[C] until when candidates want nothing: said so, or their limits are used up."""
        more = np.zeros((1, block.shape[1], COLUMNS))
        more[0, : len(theirs)] = theirs
        limits = exhaust(np.concatenate([block, more]), Admission.of_all(block.shape[1]), now)
        reset = np.where(limits.open, now + limits.recovery_seconds, 0.0)
        said: Column = block[:, :, COOL_UNTIL].max(axis=0, initial=0.0)
        return np.maximum(said, reset)

    def _learn(self) -> None:
        """Names that a process has met since; a name keeps its place."""
        seen = self._table.control[:, IDENTITY].tobytes()
        if seen == self._seen:
            return
        self._seen = seen
        labels = {
            label.decode()
            for writer in self._table.claimed().tolist()
            if writer != self._table.peers
            for label in self._table.label(writer)
        }
        self._names += sorted(labels.difference(self._names))
        self._ours = labels
        self._reader = Reader(self._table, self._names, without=self._table.peers)


def _usable(name: str) -> bool:
    try:
        key_of(name)
    except (ConfigError, UnicodeEncodeError):
        return False
    return True


def _latest(block: NDArray[np.float64]) -> list[Change]:
    if not block.size:
        return [NEVER] * block.shape[1]
    latest = block[:, :, CHANGED_AT].argmax(axis=0)
    found = block[latest, np.arange(block.shape[1]), CHANGED_AT : CAUSE + 1].tolist()
    return [Change(*change) if change[0] else NEVER for change in found]

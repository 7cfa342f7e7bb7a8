"""A circuit breaker for each candidate, one for all processes of a sidecar.

Closed, calls pass and failures are counted; calls of which nothing is heard are watched (see silence.py). Open, none pass until a time has come (the backoff, doubled each time). Then it
is half open: a few calls may try, and as they end it closes or opens again. After closing, the share of the traffic grows
back linearly (as Envoy's slow start mode does it), so that a server with cold caches meets no stampede.

There is no owner and no vote. A change is a record with its time in the row of whichever process made it, and of all
processes' records the latest is in force (a last-writer-wins register). Half open is no record: it follows from the time.
Counts carry the change (episode) that they were taken after, so that none outlives it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.admission import Admission
from sidecar.fleet.columns import (
    CALLS,
    CAUSE,
    CHANGED_AT,
    CLOSED,
    COLUMNS,
    COOL_UNTIL,
    EPISODE,
    ERRORS,
    ERRORS_AT,
    ERRORS_SEEN,
    LAST_SUCCESS,
    OPEN,
    PROBES,
    PROBES_OK,
    SIGN_AT,
    SILENCE,
    STREAK,
    STREAK_BEGAN,
    SUSPICIONS,
)
from sidecar.fleet.outcome import Fault
from sidecar.fleet.settings import BreakerConfig

# A probe that is out is taken to be back after so long, where recovery is foretold.
PROBE_S = 1.0
# A change reaches all processes in this time; calls that were decided later knew of it.
KNOWN_AFTER_S = 0.1


class Change(NamedTuple):
    """One record.

    Attributes:
        at: when it was made, monotonic seconds.
        kind: CLOSED or OPEN.
        until: when open turns to half open.
        level: how often the backoff was doubled.
        cause: of an opening: ERRORS_SEEN or SILENCE.
    """

    at: float
    kind: float
    until: float
    level: float
    cause: float = ERRORS_SEEN


NEVER = Change(0.0, CLOSED, 0.0, 0.0)


class Breaker:
    """This process's part in the breakers of all candidates.

    Args:
        cells: this process's rows as flat numbers; n rows.
        settings: thresholds and times.
        chance: a random number in [0, 1), to keep sidecars out of step.
        turn_s: processes may begin to probe one after the other, so many seconds apart: long enough for each to see the
            probes of those before it.
    """

    def __init__(
        self, cells: "memoryview[float]", settings: BreakerConfig, chance: Callable[[], float], turn_s: float
    ) -> None:
        self._cells = cells
        self._settings = settings
        self._chance = chance
        self._turn_s = turn_s
        self._changes: dict[int, Change] = {}
        self._opened: dict[int, float] = {}  # when each was opened last
        self._block: NDArray[np.float64] = np.zeros((0, 0, COLUMNS))
        self._alive: list[bool] = []

    def merge(self, block: NDArray[np.float64], alive: NDArray[np.bool_], rank: int, now: float) -> Admission:
        """Learns what the others found out, and says who may be chosen.

        Args:
            block: [W, n, COLUMNS] all processes' rows, this one's last.
            alive: [W] which of them live.
            rank: how many live processes come before this one.
            now: monotonic seconds.
        """
        self._block, self._alive = block, alive.tolist()
        changed = block[:, :, CHANGED_AT]
        if changed.any():
            latest = changed.argmax(axis=0)
            for row in np.flatnonzero(changed.any(axis=0)).tolist():
                self._changes[row] = change = Change(*block[latest[row], row, CHANGED_AT : CAUSE + 1].tolist())
                if change.kind == OPEN:
                    self._opened[row] = change.at
        admission = Admission.of_all(block.shape[1])
        plain = self._cool(block[:, :, COOL_UNTIL].max(axis=0), admission, now)
        for row, change in self._changes.items():
            plain &= self._judge(row, change, admission, rank, now)
        return admission._replace(plain=plain)

    def began(self, row: int, now: float) -> None:
        """A call was decided; in the half-open state it is a probe."""
        change = self._changes.get(row)
        if change is not None and change.kind == OPEN and now >= change.until:
            self._enter(row, change)
            self._cells[row * COLUMNS + PROBES] += 1.0

    def unknown(self, row: int, decided: float) -> None:
        """A call ended and says nothing of the candidate; if it was a probe, another may try."""
        change = self._changes.get(row)
        base = row * COLUMNS
        if change is not None and _is_probe(change, decided) and self._cells[base + EPISODE] == change.at:
            self._cells[base + PROBES] = max(self._cells[base + PROBES_OK], self._cells[base + PROBES] - 1.0)

    def lost(self, row: int, decided: float, now: float) -> bool:
        """Nothing was heard of a call in time. It hangs, if there was no sign of life since; else its outcome was lost.

        Args:
            row: the candidate's.
            decided: when the call was decided, monotonic seconds.
            now: monotonic seconds.

        Returns:
            Whether that changed the breaker.
        """
        alive = max(max(entry[LAST_SUCCESS], entry[SIGN_AT]) for entry in (*self._others(row), self._own(row)))
        if alive < decided:
            return self.failed(row, Fault.TIMEOUT, 0.0, decided, now)
        self.unknown(row, decided)
        return False

    def suspect(self, row: int, now: float) -> bool:
        """A candidate hangs, as far as can be seen; whether that changed the breaker."""
        change = self._changes.get(row, NEVER)
        if change.kind == OPEN:
            return False
        self._enter(row, change)
        self._cells[row * COLUMNS + SUSPICIONS] += 1.0
        self._open_again(row, change, 0.0, SILENCE, now)
        return True

    def tried_since(self, row: int) -> float:
        """Calls of a candidate that were decided from then on are probes; inf where nothing is being tried."""
        change = self._changes.get(row, NEVER)
        return change.until if change.kind == OPEN else math.inf

    def meanwhile(self, row: int, decided: float) -> bool:
        """Whether the breaker has opened since a call was decided: it tells of the trouble then, not of how things are."""
        return self._opened.get(row, 0.0) > decided

    def awake(self, row: int, decided: float, now: float) -> bool:
        """A candidate gave a sign of life, an answer or its first token. It hangs no more, if it did.

        Args:
            row: the candidate's.
            decided: when the call was decided, monotonic seconds.
            now: monotonic seconds.

        Returns:
            Whether that changed the breaker.
        """
        self._cells[row * COLUMNS + SIGN_AT] = now
        change = self._changes.get(row, NEVER)
        if change.kind != OPEN or change.cause != SILENCE or _is_probe(change, decided):
            return False
        self._change(row, Change(now, CLOSED, now, change.level))
        return True

    def succeeded(self, row: int, decided: float, now: float) -> bool:
        """A call ended well; see also `awake`.

        Args:
            row: the candidate's.
            decided: when the call was decided, monotonic seconds.
            now: monotonic seconds.

        Returns:
            Whether that changed the breaker.
        """
        change = self._changes.get(row, NEVER)
        if decided < change.at:
            return False  # it tells of the time before
        base, cells = row * COLUMNS, self._cells
        self._enter(row, change)
        cells[base + LAST_SUCCESS] = now
        if change.kind == CLOSED:
            self._count(base, now)
            cells[base + STREAK] = 0.0
            return False
        if not _is_probe(change, decided):
            # As a last resort it was chosen though it was open, and see: it works again. So it is tried at once.
            if now < change.until and decided >= change.at + KNOWN_AFTER_S:
                self._change(row, change._replace(at=now, until=now))
                return True
            return False
        cells[base + PROBES_OK] += 1.0
        cells[base + PROBES] = max(cells[base + PROBES], cells[base + PROBES_OK])
        if self._sum(row, change, PROBES_OK) < self._settings.probe_successes:
            return False
        self._change(row, Change(now, CLOSED, now, change.level))
        return True

    def failed(self, row: int, fault: Fault, retry_after_s: float, decided: float, now: float) -> bool:
        """A call failed; see `succeeded`.

        Args:
            row: the candidate's.
            fault: not NONE.
            retry_after_s: before which the candidate wants nothing; nan or 0: it did not say.
            decided: when the call was decided, monotonic seconds.
            now: monotonic seconds.
        """
        asked_s = min(retry_after_s, self._settings.max_cool_down_seconds) if retry_after_s > 0.0 else 0.0
        if fault is Fault.CLIENT or (fault is Fault.RATE_LIMIT and asked_s):
            self.unknown(row, decided)
            base = row * COLUMNS
            if fault is Fault.CLIENT or now + asked_s <= self._cells[base + COOL_UNTIL]:
                return False
            self._cells[base + COOL_UNTIL] = now + asked_s
            return True
        change = self._changes.get(row, NEVER)
        if decided < (change.until if change.kind == OPEN else change.at):
            return False
        base, cells = row * COLUMNS, self._cells
        self._enter(row, change)
        if change.kind == OPEN:
            cause = SILENCE if fault is Fault.TIMEOUT else ERRORS_SEEN
            self._open(row, change.level + 1.0, asked_s, cause, now)
            return True
        self._count(base, now)
        cells[base + ERRORS] += 1.0
        if not cells[base + STREAK]:
            cells[base + STREAK_BEGAN] = now
        cells[base + STREAK] += 1.0
        if not self._too_many(row, change, now):
            return False
        self._open_again(row, change, asked_s, ERRORS_SEEN, now)
        return True

    def _cool(self, until: NDArray[np.float64], admission: Admission, now: float) -> bool:
        """Takes cool-downs into the admission; whether there is none."""
        grow_s = self._settings.slow_start_seconds
        if not (until > now - grow_s).any():
            return True
        for row in np.flatnonzero((until > 0.0) & (until > now - grow_s)).tolist():
            left = float(until[row]) - now
            if left > 0.0:
                admission.open[row] = True
                admission.recovery_seconds[row] = left
            else:
                admission.share[row] = self._grown(-left)
        return False

    def _judge(self, row: int, change: Change, admission: Admission, rank: int, now: float) -> bool:
        """Takes a breaker into the admission; whether it is in nobody's way."""
        if change.kind == CLOSED:
            if now - change.at >= self._settings.slow_start_seconds:
                return True
            admission.share[row] = min(admission.share[row], self._grown(now - change.at))
            return False
        wait_s = change.until - now
        if wait_s <= 0.0:
            out = self._sum(row, change, PROBES) - self._sum(row, change, PROBES_OK)
            left = self._settings.probes - out
            turn_s = change.until + rank * self._turn_s - now
            if left > 0.0 and turn_s <= 0.0:
                admission.quota[row] = left
                return False
            wait_s = max(turn_s, 0.0) if left > 0.0 else PROBE_S
        admission.open[row] = True
        admission.recovery_seconds[row] = max(admission.recovery_seconds[row], wait_s)
        return False

    def _grown(self, since_s: float) -> float:
        least, whole_s = self._settings.slow_start_from, self._settings.slow_start_seconds
        return min(1.0, least + (1.0 - least) * since_s / whole_s)

    def _too_many(self, row: int, change: Change, now: float) -> bool:
        settings, own = self._settings, self._own(row)
        streak, calls, errors = own[STREAK], own[CALLS], own[ERRORS]
        if streak >= settings.consecutive_errors:
            return True
        others = [entry for entry in self._others(row) if entry[EPISODE] == change.at]
        succeeded = max((entry[LAST_SUCCESS] for entry in (*others, own)), default=0.0)
        for entry in others:
            decay = 2.0 ** (min(0.0, entry[ERRORS_AT] - now) / settings.window_seconds)
            calls += decay * entry[CALLS]
            errors += decay * entry[ERRORS]
            if entry[STREAK_BEGAN] > succeeded:
                streak += entry[STREAK]
        return streak >= settings.consecutive_errors or (
            calls >= settings.min_volume and errors >= settings.error_rate * calls
        )

    def _own(self, row: int) -> list[float]:
        return list(self._cells[row * COLUMNS : (row + 1) * COLUMNS])

    def _others(self, row: int) -> list[list[float]]:
        if row >= self._block.shape[1]:
            return []  # a new candidate
        entries: list[list[float]] = self._block[:-1, row].tolist()
        return [entry for entry, alive in zip(entries, self._alive, strict=False) if alive]

    def _sum(self, row: int, change: Change, column: int) -> float:
        base = row * COLUMNS
        own = self._cells[base + column] if self._cells[base + EPISODE] == change.at else 0.0
        return own + sum(entry[column] for entry in self._others(row) if entry[EPISODE] == change.at)

    def _count(self, base: int, now: float) -> None:
        cells = self._cells
        decay = 2.0 ** ((cells[base + ERRORS_AT] - now) / self._settings.window_seconds)
        cells[base + CALLS] = cells[base + CALLS] * decay + 1.0
        cells[base + ERRORS] *= decay
        cells[base + ERRORS_AT] = now

    def _enter(self, row: int, change: Change) -> None:
        """Begins to count anew if the breaker has changed since."""
        base, cells = row * COLUMNS, self._cells
        if cells[base + EPISODE] != change.at:
            cells[base + EPISODE] = change.at
            for column in (CALLS, ERRORS, STREAK, STREAK_BEGAN, PROBES, PROBES_OK):
                cells[base + column] = 0.0

    def _open_again(self, row: int, closed: Change, asked_s: float, cause: float, now: float) -> None:
        recent = closed is not NEVER and now - closed.at < self._settings.forget_seconds
        self._open(row, closed.level + 1.0 if recent else 0.0, asked_s, cause, now)

    def _open(self, row: int, level: float, asked_s: float, cause: float, now: float) -> None:
        settings = self._settings
        backoff_s = min(settings.max_backoff_seconds, settings.first_backoff_seconds * 2.0 ** min(level, 64.0))
        backoff_s *= 1.0 + settings.jitter * self._chance()
        self._change(row, Change(now, OPEN, now + max(backoff_s, asked_s), level, cause))

    def _change(self, row: int, change: Change) -> None:
        before = self._changes.get(row, NEVER)
        # Never before the one that it takes the place of.
        change = change._replace(at=max(change.at, float(np.nextafter(before.at, np.inf))))
        self._changes[row] = change
        if change.kind == OPEN:
            self._opened[row] = change.at
        base = row * COLUMNS + CHANGED_AT
        for column, value in enumerate(change):
            self._cells[base + column] = value


def _is_probe(change: Change, decided: float) -> bool:
    return change.kind == OPEN and decided >= change.until

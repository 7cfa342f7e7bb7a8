"""Dead reckoning: the calls in flight that follow from this worker's own decisions.

A call is in flight from its decision until its outcome is heard, or if it never is, until a multiple of the time that it
was expected to take. Where no outcomes are heard at all (a gateway that does not report them) that would count calls for
several times too long, so there it is just the expected time (Little's law then gives the right number). Memory is fixed: decisions are numbered, and the ring has a place for each of the latest ones.
"""

import math
from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.settings import FleetConfig

# Of the latest calls that ended, at least these many, fewer than this share by an outcome: nobody reports them.
SILENT_CALLS, SILENT_SHARE = 20.0, 0.05
# What was seen counts by so much less with each sweep.
FORGET = 0.992
# And each call that ended, by so much less with each one after it: however seldom calls come, about the last hundred count.
FORGET_CALL = 0.99
# In the place of the wait that a call was expected to have.
EXPIRED = -1.0


class Call(NamedTuple):
    """A call that was in flight.

    Attributes:
        row: the candidate's row in this worker's section.
        tokens: expected, of prompt and answer.
        wait_seconds: that the decision expected it to wait for its turn.
        decided: when, monotonic seconds.
        seconds: that it was expected to take, the wait among them; 0 where unknown. Infinite if it is no longer in flight.
    """

    row: int
    tokens: float
    wait_seconds: float
    decided: float
    seconds: float

    @property
    def in_flight(self) -> bool:
        """Whether it is."""
        return self.seconds != math.inf

    @property
    def expired(self) -> bool:
        """Whether it was given up."""
        return self.wait_seconds == EXPIRED


class Open(NamedTuple):
    """The calls in flight, each [n], the oldest first. See Call."""

    rows: NDArray[np.int16]
    tokens: NDArray[np.float32]
    decided: NDArray[np.float64]
    seconds: NDArray[np.float64]


class Reckoning:
    """Counts calls in flight and the tokens in them.

    Args:
        names: rows.
        settings: how long a call without an outcome counts, and how many are followed.

    Attributes:
        open: [names, 2] the two below, side by side.
        in_flight: [names] calls.
        tokens: [names] tokens expected in them.
        expired: [names] calls that never had an outcome, since the start.
        expirations: all of these.
        silent: whether it seems that nobody reports outcomes.
        moves: how often any of these changed.
    """

    def __init__(self, names: int, settings: FleetConfig) -> None:
        self._factor = settings.expiry_factor
        self._least, self._most = settings.min_expiry_seconds, settings.max_expiry_seconds
        size = settings.max_open
        self._mask = size - 1
        self._numbers = array("q", [-1]) * size
        self._rows = array("h", [0]) * size
        self._tokens = array("f", [0.0]) * size
        self._waits = array("f", [0.0]) * size
        self._decided = array("d", [0.0]) * size
        self._seconds = array("d", [math.inf]) * size  # expected; inf: nothing is open here
        self._ring = Open(
            np.frombuffer(self._rows, np.int16),
            np.frombuffer(self._tokens, np.float32),
            np.frombuffer(self._decided, np.float64),
            np.frombuffer(self._seconds, np.float64),
        )
        self._tail = self._head = 0  # all that is open has a number from the tail on, below the head
        self._heard = self._lost = 0.0  # calls that ended by an outcome, and by time; decayed
        self._told = self._untold = 0.0  # likewise, decayed by calls and not by time
        self.silent = False
        self.moves = 0
        self.expirations = 0
        self.open = np.zeros((names, 2))
        self.in_flight, self.tokens = self.open.T
        self.expired = np.zeros(names)
        self._open = memoryview(self.open).cast("B").cast("d")  # type: ignore[arg-type]

    def add(self, number: int, row: int, tokens: float, seconds: float, wait_seconds: float, now: float) -> None:
        """A decision was made.

        Args:
            number: of the decision; each larger than the one before.
            row: the chosen candidate's.
            tokens: expected of prompt and answer.
            seconds: expected until the end of the answer, the wait among them; 0 where unknown.
            wait_seconds: the expected wait among them.
            now: monotonic seconds.
        """
        place = number & self._mask
        if self._seconds[place] != math.inf:
            self._expire(place)  # the ring is full; the oldest call is given up
        self._seconds[place] = seconds if seconds < self._most else self._most  # noqa: FURB136 - a call costs more
        self._numbers[place] = number
        self._rows[place] = row
        self._tokens[place] = tokens
        self._waits[place] = wait_seconds
        self._decided[place] = now
        self._head = number + 1
        self.moves += 1
        self._open[2 * row] += 1.0
        self._open[2 * row + 1] += self._tokens[place]  # as rounded there, so that just this is taken off again

    def end(self, number: int) -> Call | None:
        """A call has ended; None, and nothing changes, if it is not in flight: it was ended before, or expired."""
        place = number & self._mask
        if self._numbers[place] != number or self._seconds[place] == math.inf:
            return None
        call = self._call(place)
        self._take_off(place)
        self._heard += 1.0
        self._told = self._told * FORGET_CALL + 1.0
        self._untold *= FORGET_CALL
        return call

    @property
    def unheard(self) -> bool:
        """Whether outcomes are not what usually ends a call, so that one without says nothing of its candidate."""
        return self._told <= SILENT_SHARE * self._untold

    def recall(self, number: int) -> Call | None:
        """The call that a decision led to, be it in flight or not; None if it was too long ago, or there was none."""
        place = number & self._mask
        return self._call(place) if self._numbers[place] == number else None

    def sweep(self, now: float) -> list[Call]:
        """Ends the calls whose time is over; gives them.

        Costs a comparison (under a nanosecond) for each number from the oldest open call on, and some ten for each call
        that is open; a few times a second is enough.
        """
        places = self._places()
        seconds = self._ring.seconds[places]
        keep = np.maximum(self._factor * seconds, self._least)
        if self.silent:
            keep = np.where(seconds > 0.0, seconds, keep)
        over = self._ring.decided[places] + np.minimum(keep, self._most) <= now
        calls: list[Call] = []
        for place in places[over].tolist():
            calls.append(self._call(place))
            self._expire(place)
        still = places[~over]
        self._tail = self._numbers[int(still[0])] if still.size else self._head
        for _ in calls:
            self._untold = self._untold * FORGET_CALL + 1.0
            self._told *= FORGET_CALL
        self._heard *= FORGET
        self._lost = self._lost * FORGET + len(calls)
        self.silent = self._heard + self._lost >= SILENT_CALLS and self._heard < SILENT_SHARE * self._lost
        return calls

    def open_calls(self) -> Open:
        """What is in flight; costs as much as `sweep`."""
        places = self._places()
        ring = self._ring
        return Open(ring.rows[places], ring.tokens[places], ring.decided[places], ring.seconds[places])

    def _places(self) -> NDArray[np.intp]:
        """Places of open calls, the oldest first."""
        head = self._head
        tail = max(self._tail, head - self._mask - 1)
        pieces = []
        while tail < head:  # in one or two pieces, since the ring begins anew
            start = tail & self._mask
            piece = self._ring.seconds[start : min(start + head - tail, self._mask + 1)]
            pieces.append(np.flatnonzero(piece != math.inf) + start)
            tail += piece.size
        return np.concatenate(pieces) if pieces else np.zeros(0, np.intp)

    def _call(self, place: int) -> Call:
        return Call(
            self._rows[place], self._tokens[place], self._waits[place], self._decided[place], self._seconds[place]
        )

    def _expire(self, place: int) -> None:
        self.expired[self._rows[place]] += 1.0
        self.expirations += 1
        self._waits[place] = EXPIRED
        self._take_off(place)

    def _take_off(self, place: int) -> None:
        base, cells = 2 * self._rows[place], self._open
        self.moves += 1
        self._seconds[place] = math.inf
        cells[base] -= 1.0
        if cells[base]:
            cells[base + 1] -= self._tokens[place]
        else:
            cells[base + 1] = 0.0

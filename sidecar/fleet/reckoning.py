"""Dead reckoning: the calls in flight that follow from this worker's own decisions.

A call is in flight from its decision until its outcome is heard, or if it never is, until a multiple of the time that it
was expected to take. Where no outcomes are heard at all (a gateway that does not report them) that would count calls for
several times too long, so there it is just the expected time (Little's law then gives the right number). Memory is fixed: decisions are numbered, and the ring has a place for each of the latest ones.
"""

import math
from array import array
from typing import NamedTuple

import numpy as np

from sidecar.fleet.settings import FleetConfig

# Of the latest calls that ended, at least these many, fewer than this share by an outcome: nobody reports them.
SILENT_CALLS, SILENT_SHARE = 20.0, 0.05
# What was seen counts by so much less with each sweep.
FORGET = 0.98
# And each call that ended, by so much less with each one after it: however seldom calls come, about the last hundred count.
FORGET_CALL = 0.99


class Call(NamedTuple):
    """A call that was in flight.

    Attributes:
        row: the candidate's row in this worker's section.
        tokens: expected, of prompt and answer.
        wait_seconds: that the decision expected it to wait for its turn.
        decided: when, monotonic seconds.
    """

    row: int
    tokens: float
    wait_seconds: float
    decided: float


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
        self._expires = array("d", [math.inf]) * size  # inf: nothing is open here
        self._deadlines = np.frombuffer(self._expires, np.float64)
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
        if self._expires[place] != math.inf:
            self._expire(place)  # the ring is full; the oldest call is given up
        if self.silent and seconds > 0.0:
            keep = seconds
        else:
            keep = self._factor * seconds
            keep = max(keep, self._least)
        self._expires[place] = now + (min(self._most, keep))
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
        if self._numbers[place] != number or self._expires[place] == math.inf:
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

    def sweep(self, now: float) -> list[Call]:
        """Ends the calls whose time is over; gives them.

        Costs a comparison (under a nanosecond) for each number from the oldest open call on; once or twice a second is
        enough.
        """
        head = self._head
        tail = max(self._tail, head - self._mask - 1)
        calls: list[Call] = []
        oldest = head
        while tail < head:  # in one or two pieces, since the ring begins anew
            start = tail & self._mask
            piece = self._deadlines[start : min(start + head - tail, self._mask + 1)]
            for place in (np.flatnonzero(piece <= now) + start).tolist():
                calls.append(self._call(place))
                self._expire(place)
            if oldest == head:
                still = piece != math.inf
                first = int(still.argmax())
                oldest = tail + first if still[first] else head
            tail += piece.size
        self._tail = oldest
        for _ in calls:
            self._untold = self._untold * FORGET_CALL + 1.0
            self._told *= FORGET_CALL
        self._heard *= FORGET
        self._lost = self._lost * FORGET + len(calls)
        self.silent = self._heard + self._lost >= SILENT_CALLS and self._heard < SILENT_SHARE * self._lost
        return calls

    def _call(self, place: int) -> Call:
        return Call(self._rows[place], self._tokens[place], self._waits[place], self._decided[place])

    def _expire(self, place: int) -> None:
        self.expired[self._rows[place]] += 1.0
        self.expirations += 1
        self._take_off(place)

    def _take_off(self, place: int) -> None:
        base, cells = 2 * self._rows[place], self._open
        self.moves += 1
        self._expires[place] = math.inf
        cells[base] -= 1.0
        if cells[base]:
            cells[base + 1] -= self._tokens[place]
        else:
            cells[base + 1] = 0.0

"""Whether a candidate hangs: nothing is heard of calls of which much should have been.

A failing call is reported; of one that hangs nothing is, until somebody's patience ends. What can be seen is the silence,
and how surprising it is follows from how long calls took before: this is a phi accrual failure detector (Hayashibara et
al., SRDS 2004) over the calls in flight. With S(t) the share of answers that took longer than t, a call of age b that was
open at age a, when the candidate gave its last sign of life, adds -ln(S(b) / S(a)) to the surprise.

Silence has other causes, and none of them may take a candidate away:

- Nobody reports outcomes, or somebody reports late and in heaps: times are measured to when the sidecar hears of an answer,
  so late is usual there; and a silence must be longer than any that an answer has ended lately.
- The gateway reports nothing any more, or was restarted and will never report the calls that it had. So a call counts only
  up to when the gateway surely remembered it (see reports.py). Where calls are so rare that none of the others is in flight
  for a moment, that is not known beyond this moment.
- A server is slow, or the prompts are long: times count relative to what was expected of the call, to how many tokens it
  has, and to how much slower than usual the latest answers were.
- Answers come rarely: some calls must be overdue together, and others have been sent since the last sign of life.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.reckoning import Call, Open
from sidecar.fleet.reports import Reports
from sidecar.fleet.settings import BreakerConfig

Column = NDArray[np.float64]

# Times as multiples of the expected one, in half octaves from 1/64 to 1024 times.
PER_OCTAVE, BEGIN, BUCKETS = 2.0, 12, 32
PER_UNIT = PER_OCTAVE / math.log(2.0)
# Expected times are wrong by at least so much: the way to the gateway and back.
WAY_S = 0.05
# So many (decayed) answers must have been measured before anything is surprising.
LEAST_ANSWERS = 20.0
# In this time the weight of what was usual halves.
HABIT_S = 120.0
# Longer by this factor than the longest silence that an answer ended.
LONGER = 2.0
# Weight of an answer in how slow the latest ones were.
LATEST = 0.1
# A call is overdue when more than half of the answers came sooner.
OVERDUE = math.log(0.5)


class Found(NamedTuple):
    """What a look has found.

    Attributes:
        due: [n] of this process's calls, those that are overdue.
        surprise: [n] nats.
        suspects: rows of the candidates that hang.
        late: [calls] ln S of each call in flight, at the age to which it was surely remembered.
    """

    due: Column
    surprise: Column
    suspects: list[int]
    late: Column


class Silence:
    """What one process knows of how long its calls take, and of the silence of candidates. Arrays are by row.

    Args:
        names: rows.
        settings: when a silence is too long.

    Attributes:
        reports: when the gateway surely lived on.
    """

    def __init__(self, names: int, settings: BreakerConfig) -> None:
        self._least_calls = settings.silence_calls
        self._least_s = settings.silence_seconds
        self._most_nats = settings.silence_phi * math.log(10.0) or math.inf
        self._answers = np.zeros((names, BUCKETS))  # by the time that they took
        self._logs, self._tokens = np.zeros(names), np.zeros(names)  # sums over these answers: ln of that time, tokens
        self._latest = np.zeros(names)  # ln of the time that the latest answers took
        # Single numbers are written through these: several times faster than through numpy.
        self._count, self._log, self._token, self._last = (
            memoryview(sums).cast("B").cast("d")  # type: ignore[arg-type]
            for sums in (self._answers, self._logs, self._tokens, self._latest)
        )
        self._usual_tokens = [math.inf] * names
        self._sign = np.zeros(names)
        self._first_sign: dict[int, float] = {}  # since the last look
        self._quiet = np.full(names, math.inf)  # since when calls are overdue
        self._since = np.zeros(names)  # when the silence of the last look began
        self._longest = np.zeros(names)
        self._suspected = np.zeros(names, np.bool_)
        self._started = np.zeros(names)  # decisions as of the last sign
        self.reports = Reports()
        self._memory = np.full(names, math.inf)  # the oldest decision that was reported since the last sign
        self._reported = math.inf  # the same since the last look
        self._at = 0.0

    def reported(self, decided: float, now: float) -> None:
        """An outcome of whatever kind came; the call was decided then."""
        self._reported = min(self._reported, decided)
        self.reports.add(decided, now)

    def remembers(self, row: int, decided: float) -> bool:
        """Whether a call of which nothing was heard would have been reported, as far as can be told of few calls."""
        return decided >= min(float(self._memory[row]), self._reported)

    def sign(self, row: int, now: float) -> None:
        """A candidate gave a sign of life: an answer, or its first token."""
        self._first_sign.setdefault(row, now)

    def answered(self, call: Call, now: float) -> None:
        """An answer came; the call was in flight."""
        row, tokens, _, decided, seconds = call
        allowed_s, larger = seconds + WAY_S, tokens / self._usual_tokens[row]
        if larger > 1.0:
            allowed_s *= larger
        times = math.log(max(now - decided, 1e-6) / allowed_s)
        bucket = min(BUCKETS - 1, max(0, int(times * PER_UNIT + BEGIN)))
        self._count[row * BUCKETS + bucket] += 1.0
        self._log[row] += times
        self._token[row] += tokens
        self._last[row] += LATEST * (times - self._last[row])

    def look(self, calls: Open, signs: Column, started: Column, others: tuple[Column, Column], now: float) -> Found:
        """Whose silence is too long.

        Args:
            calls: of this process, in flight.
            signs: [n] when each candidate last gave a sign of life to any process.
            started: [n] decisions of all processes.
            others: [n] `due` and `surprise` of all other processes.
            now: monotonic seconds.
        """
        n = len(signs)
        answers, tail, stretch = self._habits(n, now)
        self._take_signs(signs, started)
        rows, as_of = calls.rows, self.reports.all_until(calls.decided)
        allowed = (calls.seconds + WAY_S) * stretch[rows]
        allowed *= np.maximum(1.0, calls.tokens / np.array(self._usual_tokens[:n])[rows])
        late = _log_share(tail, rows, np.maximum(as_of - calls.decided, 0.0) / allowed)
        before = _log_share(tail, rows, np.maximum(signs[rows] - calls.decided, 0.0) / allowed)
        surprise = np.bincount(rows, np.maximum(before - late, 0.0), n)
        missed = (late < OVERDUE) & (as_of > signs[rows])
        due = np.bincount(rows[missed], minlength=n)
        latest = np.full(n, -math.inf)
        np.maximum.at(latest, rows[missed], as_of[missed])
        overdue = (due > 0) & (due + others[0] >= self._least_calls)
        quiet = self._quiet[:n]
        quiet[~overdue] = math.inf
        begun = overdue & (quiet == math.inf)
        quiet[begun] = latest[begun]
        self._since[:n] = np.maximum(quiet, signs)
        limit = np.maximum(self._least_s, LONGER * self._longest[:n])
        self._suspected[:n] = (
            overdue
            & (latest - self._since[:n] >= limit)
            & (surprise + others[1] >= self._most_nats)
            & (started - self._started[:n] >= self._least_calls)
            & (answers >= LEAST_ANSWERS)
        )
        return Found(
            due.astype(np.float64), surprise.astype(np.float64), np.flatnonzero(self._suspected[:n]).tolist(), late
        )

    def _habits(self, n: int, now: float) -> tuple[Column, Column, Column]:
        """Answers [n], ln S at the edges of the buckets [n, BUCKETS + 1], and how much slower the latest answers were [n]."""
        decay = 0.5 ** ((now - self._at) / HABIT_S) if self._at else 1.0
        self._at = now
        for sums in (self._answers, self._logs, self._tokens, self._longest):
            sums[:n] *= decay
        beyond = np.zeros((n, BUCKETS + 1))
        beyond[:, :-1] = self._answers[:n, ::-1].cumsum(axis=1)[:, ::-1]
        answers = beyond[:, 0]
        some = np.maximum(answers, 1.0)
        self._usual_tokens[:n] = np.where(answers >= 1.0, self._tokens[:n] / some, math.inf).tolist()
        slower = np.where(answers >= 1.0, self._latest[:n] - self._logs[:n] / some, 0.0)
        return answers, np.log((beyond + 1.0) / (answers + 1.0)[:, np.newaxis]), np.exp(np.maximum(slower, 0.0))

    def _take_signs(self, signs: Column, started: Column) -> None:
        """Those that came since the last look end the silences, and these were not too long."""
        n = len(signs)
        self._memory[:n] = np.minimum(self._memory[:n], self._reported)
        self._reported = math.inf
        for row in np.flatnonzero(signs > self._sign[:n]).tolist():
            if self._quiet[row] < math.inf:
                length = self._first_sign.get(row, float(signs[row])) - self._since[row]
                if self._suspected[row]:  # it did hang, or not; so in doubt it takes longer next time, but not for ever
                    length = min(length, max(self._least_s, LONGER * self._longest[row]))
                self._longest[row] = max(self._longest[row], length)
            self._memory[row] = math.inf
            self._started[row] = started[row]
        self._sign[:n] = signs
        self._first_sign.clear()


def _log_share(tail: Column, rows: NDArray[np.int16], times: Column) -> Column:
    """[calls] ln S, between the edges of the buckets in a straight line.

    Args:
        tail: [n, BUCKETS + 1] ln S at the edges.
        rows: [calls].
        times: [calls] multiples of the expected time.
    """
    place = np.log2(np.maximum(times, 1e-9)) * PER_OCTAVE + BEGIN
    np.clip(place, 0.0, BUCKETS, out=place)
    edge = np.minimum(place.astype(np.intp), BUCKETS - 1)
    share = place - edge
    found: Column = tail[rows, edge] * (1.0 - share) + tail[rows, edge + 1] * share
    return found

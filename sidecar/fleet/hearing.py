"""What a process learns from what it hears of its calls, and from hearing nothing."""

import math

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.attempts import Attempts
from sidecar.fleet.breaker import Breaker
from sidecar.fleet.columns import COLUMNS, DUE, FAULTS, OUTCOMES, SIGN_AT, STARTED, SURPRISE
from sidecar.fleet.latency import observe
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.reckoning import Call, Reckoning
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.silence import Silence
from sidecar.fleet.writer import Writer

# A probe that has taken longer than all but this share of the answers before is given up.
LATE = math.log(0.02)


class Hearing:
    """Belongs to the transport's thread.

    Args:
        writer: of the process's section.
        reckoning: its calls in flight.
        breaker: its part in the breakers.
        settings: of the fleet.

    Attributes:
        changed: whether a breaker has changed; for others to set back.
    """

    def __init__(self, writer: Writer, reckoning: Reckoning, breaker: Breaker, settings: FleetConfig) -> None:
        self.changed = False
        self._rows, self._cells = writer.rows, writer.cells
        self._reckoning = reckoning
        self._breaker = breaker
        self._half_life_s = settings.latency_half_life_seconds
        self._patience_s = settings.breaker.silence_seconds
        self._silence = Silence(len(writer.rows), settings.breaker)
        self._attempts = Attempts()
        self._number, self._reports = writer.number, writer.table.reports
        self._seen: list[float] = self._reports[:, 0].tolist()
        self._rows[:, (DUE, SURPRISE)] = 0.0  # the last owner's

    def take(self, number: int, outcome: Outcome, said: int, now: float) -> bool:
        """An outcome of a decision of this process.

        Args:
            number: of the decision.
            outcome: what became of it. Of two about the same decision and model the second changes nothing.
            said: row of the model that was called; below 0: the decided one's.
            now: monotonic seconds.

        Returns:
            Whether it counts.
        """
        call = self._reckoning.end(number) if outcome.ended else None
        in_flight = call is not None
        call = call or self._reckoning.recall(number)
        if call is None:
            return False
        row = call.row if said < 0 else said
        if not outcome.ended:
            if call.in_flight:
                self._silence.reported(call.decided, now)
                self._sign(row, call.decided, now)
            return call.in_flight
        if in_flight:
            self._silence.reported(call.decided, now)
        if row != call.row:
            return self._fell_back(number, call, row, outcome, now)
        if in_flight or (self._attempts.known(number) and self._attempts.first(number, row)):
            self.learn(row, outcome, call, call.decided, now)
            return True
        if call.expired and outcome.fault is Fault.NONE:
            self._sign(row, call.decided, now)  # however late
        return False

    def learn(self, row: int, outcome: Outcome, call: Call | None, decided: float, now: float) -> None:
        """What an outcome tells of a candidate.

        Args:
            row: the candidate's.
            outcome: of a call that ended.
            call: that was decided here; None if it followed from no decision of this process, or from a fallback.
            decided: when the call was decided, monotonic seconds.
            now: monotonic seconds.
        """
        cells, base = self._cells, row * COLUMNS
        cells[base + OUTCOMES] += 1.0
        if outcome.fault is not Fault.NONE:
            cells[base + FAULTS] += 1.0
            self.changed |= self._breaker.failed(row, outcome.fault, outcome.retry_after_seconds, decided, now)
            return
        # How long a call took in which the candidate was ill tells nothing of how long the next one will take.
        if not self._breaker.meanwhile(row, decided):
            observe(cells, row, outcome, 0.0 if call is None else call.wait_seconds, now, self._half_life_s)
            if call is not None and call.in_flight:
                self._silence.answered(call, now)
        self._sign(row, decided, now)
        self.changed |= self._breaker.succeeded(row, decided, now)

    def sweep(self, block: NDArray[np.float64], alive: NDArray[np.bool_], now: float) -> None:
        """Gives up calls whose time is over, and looks for candidates that hang; to be called a few times a second.

        Args:
            block: [W, n, COLUMNS] all processes' rows as of the last merge, this one's last.
            alive: [W] which of them live.
            now: monotonic seconds.
        """
        self._share_reports()
        for call in self._reckoning.sweep(now):
            if self._silence.remembers(call.row, call.decided) and not self._reckoning.unheard:
                self.changed |= self._breaker.lost(call.row, call.decided, now)
            else:
                self._breaker.unknown(call.row, call.decided)
        if not self._reckoning.silent:
            self._listen(block[:-1], alive[:-1], now)

    def _listen(self, others: NDArray[np.float64], alive: NDArray[np.bool_], now: float) -> None:
        calls, breaker = self._reckoning.open_calls(), self._breaker
        own = self._rows[: others.shape[1]]
        elsewhere = alive @ others[:, :, DUE], alive @ others[:, :, SURPRISE]
        signs = np.maximum(others[:, :, SIGN_AT].max(axis=0, initial=0.0), own[:, SIGN_AT])
        started = others[:, :, STARTED].sum(axis=0) + own[:, STARTED]
        found = self._silence.look(calls, signs, started, elsewhere, now)
        own[:, DUE], own[:, SURPRISE] = found.due, found.surprise
        for row in found.suspects:
            self.changed |= breaker.suspect(row, now)
        for at in np.flatnonzero((found.late < LATE) & (calls.decided <= now - self._patience_s)).tolist():
            row, decided = int(calls.rows[at]), float(calls.decided[at])
            if decided >= breaker.tried_since(row):
                self.changed |= breaker.failed(row, Fault.TIMEOUT, 0.0, decided, now)

    def _fell_back(self, number: int, call: Call, row: int, outcome: Outcome, now: float) -> bool:
        """The outcome is another model's than the decided one's; that one's is told before it, after it, or never."""
        if not self._attempts.known(number):
            self._attempts.begin(number, [] if call.in_flight else [call.row])
        if call.in_flight:
            self._breaker.unknown(call.row, call.decided)
        if not self._attempts.first(number, row):
            return False
        begun = now - outcome.latency_seconds if outcome.latency_seconds >= 0.0 else call.decided
        self.learn(row, outcome, None, max(begun, call.decided), now)
        return True

    def _share_reports(self) -> None:
        """Whoever hears of calls knows that somebody reports them."""
        for writer, (end, begin) in enumerate(self._reports.tolist()):
            if end > self._seen[writer]:
                self._seen[writer] = end
                if writer != self._number:
                    self._silence.reported(begin, end)
        begin, end = self._silence.reports.latest
        self._reports[self._number, 1] = begin
        self._reports[self._number, 0] = end  # last: who sees it sees the other

    def _sign(self, row: int, decided: float, now: float) -> None:
        self._silence.sign(row, now)
        self.changed |= self._breaker.awake(row, decided, now)

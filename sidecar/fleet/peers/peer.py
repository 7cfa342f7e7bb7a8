"""One other sidecar, as this one hears of it."""

from sidecar.fleet.breaker import NEVER, Change
from sidecar.fleet.budget import PREFIX
from sidecar.fleet.columns import CLOSED, OPEN
from sidecar.fleet.peers.message import Report, Row

# Over about so long it is counted who makes how many decisions.
RATE_S = 1.0
# Two quartz clocks drift apart by less than this share.
DRIFT = 1e-3
# A message cannot be late by so much: a clock stood still while its host slept.
JUMP_S = 5.0


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


class Peer:
    """What it said last, with its times as readings of this host's monotonic clock.

    Of how far its clock is from ours, each message gives an upper bound: it was made before it was read. The least of
    them is close, since some messages are read just after they were made.

    Args:
        report: the first message.
        now: when it was read, monotonic seconds.

    Attributes:
        report: the latest message.
        heard_at: when it was first read.
        rate: its decisions.
        growth: by name, decisions and tokens since they were last taken from here. What it had decided before it was
            heard of is not among them.
    """

    def __init__(self, report: Report, now: float) -> None:
        self.report = report
        self.heard_at = now
        self.rate = Rate()
        self.growth: dict[str, tuple[float, float]] = {}
        self._offset = now - report.now
        self._held: dict[tuple[str, str], tuple[float, float]] = {}
        self._series: dict[str, float] = {}
        self._learn({}, report)

    def take(self, report: Report, now: float) -> None:
        """A message was read; one that is not newer than the latest changes nothing."""
        if report.now <= self.report.now:
            return
        offset = now - report.now
        crept = self._offset + DRIFT * (now - self.heard_at)
        self._offset = min(offset, crept) if offset - crept < JUMP_S else offset
        before, self.report, self.heard_at = self.report, report, now
        self._learn(before.rows, report)

    @property
    def counted_at(self) -> float:
        """When it counted what it said last."""
        return min(self.report.now + self._offset, self.heard_at)

    def change(self, name: str) -> Change:
        """The latest change of its breaker of a candidate."""
        row = self.report.rows.get(name)
        if row is None or not row.changed_at:
            return NEVER
        at = min(self._local(name, "at", row.changed_at), self.heard_at)
        kind = OPEN if row.kind == OPEN else CLOSED
        return Change(at, kind, self._local(name, "until", row.until), row.level)

    def open_since(self, name: str) -> float:
        """When it opened a candidate's breaker that has not closed since, however many probes failed; else 0."""
        return self._series.get(name, 0.0)

    def cool_until(self, name: str) -> float:
        """Before which a candidate wants nothing; 0: nothing is known."""
        row = self.report.rows.get(name)
        return self._local(name, "cool", row.cool_until) if row and row.cool_until else 0.0

    def _local(self, name: str, kind: str, time: float) -> float:
        """One of its times; the same time is always the same, however well the clocks are known meanwhile."""
        raw, local = self._held.get((name, kind), (-1.0, 0.0))
        if raw != time:
            local = time + self._offset
            self._held[name, kind] = (time, local)
        return local

    def _learn(self, before: dict[str, Row], report: Report) -> None:
        decided = 0.0
        for name, row in report.rows.items():
            if not name.startswith(PREFIX):
                decided += row.started
            former = before.get(name)
            if former is not None:
                started, tokens = self.growth.get(name, (0.0, 0.0))
                self.growth[name] = (
                    started + max(0.0, row.started - former.started),
                    tokens + max(0.0, row.tokens_started - former.tokens_started),
                )
            if row.kind != OPEN:
                self._series.pop(name, None)
            elif name not in self._series:
                self._series[name] = self.change(name).at
        self.rate.take(decided, report.now)

"""One other sidecar, as this one hears of it."""

from sidecar.fleet.breaker import NEVER, Change
from sidecar.fleet.budget import PREFIX
from sidecar.fleet.columns import CLOSED, OPEN
from sidecar.fleet.peers.census import Rate
from sidecar.fleet.peers.message import Report, Row


class Peer:
    """What it said last, with its times as readings of this host's monotonic clock.

    Args:
        report: the first message.
        made_at: when it was made, monotonic seconds of this host.
        now: when it was read, likewise.

    Attributes:
        report: the latest message.
        counted_at: when it counted what is in it.
        heard_at: when it was first read.
        rate: its decisions.
        growth: by name, decisions and tokens since they were last taken from here. What it had decided before it was
            heard of is not among them.
    """

    def __init__(self, report: Report, made_at: float, now: float) -> None:
        self.report = report
        self.counted_at, self.heard_at = made_at, now
        self.rate = Rate()
        self.growth: dict[str, tuple[float, float]] = {}
        self._held: dict[tuple[str, str], tuple[float, float]] = {}
        self._series: dict[str, float] = {}
        self._learn({}, report)

    def take(self, report: Report, made_at: float, now: float) -> None:
        """A message was read; one that is not newer than the latest changes nothing. See the class."""
        if report.now <= self.report.now:
            return
        before, self.report = self.report, report
        self.counted_at, self.heard_at = made_at, now
        self._learn(before.rows, report)

    def change(self, name: str) -> Change:
        """The latest change of its breaker of a candidate."""
        row = self.report.rows.get(name)
        if row is None or not row.changed_at:
            return NEVER
        at = min(self._local(name, "at", row.changed_at), self.heard_at)
        kind = OPEN if row.kind == OPEN else CLOSED
        return Change(at, kind, self._local(name, "until", row.until), row.level, row.cause)

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
            local = time - self.report.now + self.counted_at
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

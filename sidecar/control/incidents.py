"""What the operator is told of the fleet in the log: a line when something begins, and one when it is over.

A candidate that fails opens and half opens again and again, and one with short rate limits pauses many times a minute. All of
that is one incident: it is over when there was nothing for CALM_S.
"""

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from sidecar.control.standing import Load

if TYPE_CHECKING:
    from sidecar.fleet.allowances import Allowance
    from sidecar.fleet.figures import CandidateFigures

log = logging.getLogger(__name__)

CALM_S = 10.0
FAILING = ("open", "half_open")
PAUSING = "cooling"
# Of so many calls that ended not one outcome was heard: nobody reports them.
SILENT_CALLS = 20.0


class Span:
    """One thing that begins and ends, perhaps often.

    Attributes:
        began: monotonic seconds; None while there is nothing.
        times: how often it began since.
    """

    def __init__(self) -> None:
        self.began: float | None = None
        self.times = 0
        self._last = 0.0
        self._here = False

    def begins(self, now: float, *, here: bool) -> bool:
        """Takes a look at it; whether it is new."""
        if here:
            self.times += not self._here
            self._last = now
        self._here = here
        if here and self.began is None:
            self.began = now
            return True
        return False

    def ended(self, now: float) -> float | None:
        """For how long it was, in seconds, if it is over just now."""
        if self.began is None or self._here or now - self._last < CALM_S:
            return None
        lasted, self.began = self._last - self.began, None
        return lasted

    def counted(self) -> int:
        """How often it began; counts anew."""
        times, self.times = self.times, 0
        return times


class Incidents:
    """Follows the fleet. Belongs to one thread.

    Args:
        offered: names of the candidates that may be chosen at all; empty: all that are seen.
    """

    def __init__(self, offered: Collection[str] = ()) -> None:
        self._offered = frozenset(offered)
        self._spans: dict[tuple[str, str], Span] = {}
        self._unreported = False

    def take(self, load: Load, now: float) -> None:
        """Looks at the fleet as it is now, twice a second or so.

        Args:
            load: of all candidates and budgets.
            now: monotonic seconds.
        """
        rows = [row for row in load.candidates if not self._offered or row.name in self._offered]
        for row in rows:
            self._candidate(row, now)
        self._all(rows, now)
        for budget in load.budgets:
            self._budget(budget, now)
        self._reports(load.candidates)

    def _span(self, kind: str, name: str = "") -> Span:
        return self._spans.setdefault((kind, name), Span())

    def _candidate(self, row: "CandidateFigures", now: float) -> None:
        span = self._span("failing", row.name)
        if span.begins(now, here=row.state in FAILING):
            log.warning(
                "fleet: %s fails and is left alone; it is tried again in %.1f s", row.name, row.recovery_seconds
            )
        elif (lasted := span.ended(now)) is not None:
            log.info(
                "fleet: %s works again after %.0f s, in which it was left alone %d times",
                row.name,
                lasted,
                span.counted(),
            )
        span = self._span("pausing", row.name)
        if span.begins(now, here=row.state == PAUSING):
            log.warning(
                "fleet: %s takes no more for now (rate limit, or its provider asked for a pause); it may be chosen again in "
                "%.1f s",
                *(row.name, row.recovery_seconds),
            )
        elif (lasted := span.ended(now)) is not None:
            log.info(
                "fleet: %s is without a pause again after %.0f s, in which there were %d",
                row.name,
                lasted,
                span.counted(),
            )

    def _all(self, rows: "Collection[CandidateFigures]", now: float) -> None:
        span = self._span("all")
        if span.begins(now, here=bool(rows) and all(row.state in (*FAILING, PAUSING) for row in rows)):
            log.error("fleet: no candidate is well; requests go to a last resort (reason LAST_RESORT)")
        elif (lasted := span.ended(now)) is not None:
            log.warning("fleet: a candidate is well again, after %.0f s without any", lasted)

    def _budget(self, budget: "Allowance", now: float) -> None:
        span, name = self._span("budget", budget.config.name), budget.config.name
        if span.begins(now, here=budget.recovery_seconds > 0.0):
            refuses = budget.config.when_used_up == "refuse"
            log.warning(
                "budget %r is used up; it allows another request in %.0f s%s",
                *(name, budget.recovery_seconds),
                "; until then what it leaves no candidate for is refused" if refuses else "",
            )
        elif (lasted := span.ended(now)) is not None:
            log.info("budget %r allows requests again after %.0f s, used up %d times", name, lasted, span.counted())

    def _reports(self, rows: "Collection[CandidateFigures]") -> None:
        if self._unreported or any(row.outcomes for row in rows):
            return
        unheard = sum(row.expired for row in rows)
        if unheard >= SILENT_CALLS:
            self._unreported = True
            log.warning(
                "fleet: of %d calls no outcome was heard: times, errors and what is in flight are guessed until somebody "
                "calls ReportOutcome",
                unheard,
            )

"""What was decided, in numbers."""

from sidecar.routing.decision import Reason


class Counts:
    """Plain counters since the start, of all bundles; written by the transport's thread alone.

    Attributes:
        reasons: decisions, by the reasons that they were given.
        log_only: decisions that were only recorded.
        disagreements: of these, the caller's own model is not the one that was chosen.
        over_budget: requests that were refused since their budgets are used up.
        switches: turns of sessions that were sent to another candidate than the turn before.
        forced_stays: turns that stayed only since their session may not spend more on changes.
    """

    __slots__ = ("disagreements", "forced_stays", "log_only", "over_budget", "reasons", "switches")

    def __init__(self) -> None:
        self.reasons: dict[tuple[Reason, ...], int] = {}
        self.log_only = self.disagreements = self.switches = self.forced_stays = self.over_budget = 0

    def by_reason(self) -> dict[str, int]:
        """Decisions that gave each reason; from any thread."""
        found = {reason.name: 0 for reason in Reason}
        for reasons, number in self.reasons.copy().items():  # in one step: the transport's thread may add to it
            for reason in reasons:
                found[Reason(reason).name] += number
        return found

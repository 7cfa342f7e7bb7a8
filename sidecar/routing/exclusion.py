"""Why candidates could not be chosen; worked out from what a decision left behind, when it is recorded.

Nothing of it is done while anybody waits for the decision: the rule only keeps what it had at hand.
"""

import enum
from collections.abc import Sequence
from math import inf

from sidecar.routing.ask import Ask
from sidecar.routing.decision import Choice, Expectations, Reason


class Exclusion(enum.IntEnum):
    """Why one candidate could not be chosen; of several reasons, the first here. The numbers are those in the ledger."""

    NONE = 0
    NOT_OFFERED = 1
    # The request does not allow it, denies it, or needs something that it cannot do.
    REQUEST = 2
    CONTEXT_WINDOW = 3
    MIN_QUALITY = 4
    MAX_COST_USD = 5
    MAX_LATENCY_MS = 6
    BUDGET = 7
    # It failed and is left alone, cools down, or takes no more calls for now.
    BREAKER = 8


class Exclusions:
    """Tells them of the decisions over one table of candidates.

    Args:
        offered: [C] whether the operator offers the candidate; empty: all are.
        windows: [C] tokens of its context; empty: nobody's is known.
    """

    def __init__(self, offered: Sequence[bool], windows: Sequence[float]) -> None:
        self._offered = offered
        self._windows = windows
        self._most = sum(offered)
        # Of most decisions: all that are offered could be chosen.
        self._usual = bytes(Exclusion.NONE if each else Exclusion.NOT_OFFERED for each in offered)
        self._usual = self._usual if any(self._usual) else b""

    def __call__(self, ask: Ask, choice: Choice, expected: Expectations, row: int) -> bytes:
        """An Exclusion for each candidate, a byte each; empty where all could be chosen.

        A last resort could not be chosen either: what excluded it is told, though it was chosen.

        Args:
            ask: the request.
            choice: its decision.
            expected: of its batch.
            row: of it, in that.
        """
        last, count = Reason.LAST_RESORT in choice.reasons, expected.quality.shape[1]
        if not last and len(choice.ranking) == (self._most or count):
            return self._usual
        told = bytearray(count)
        ranked: Sequence[int] = () if last else choice.ranking
        for candidate in set(range(count)).difference(ranked):
            told[candidate] = self._why(candidate, ask, choice, expected, row)
        return bytes(told)

    def _why(self, candidate: int, ask: Ask, choice: Choice, expected: Expectations, row: int) -> Exclusion:
        if self._offered and not self._offered[candidate]:
            return Exclusion.NOT_OFFERED
        if choice.admitted is None or choice.admitted[candidate]:
            over_budget = choice.closed is not None and choice.closed.exhausted[candidate]
            return Exclusion.BUDGET if over_budget else Exclusion.BREAKER
        return self._limit(candidate, ask, expected, row)

    def _limit(self, candidate: int, ask: Ask, expected: Expectations, row: int) -> Exclusion:
        """Which of the request's limits excludes a candidate: the first, as in what is told where all are excluded."""
        if ask.admitted is not None and not ask.admitted[candidate]:
            return Exclusion.REQUEST
        answer = 0.0 if ask.max_output_tokens == inf else ask.max_output_tokens
        if self._windows and ask.prompt_tokens + answer > self._windows[candidate]:
            return Exclusion.CONTEXT_WINDOW
        if expected.quality[row, candidate] < ask.terms.min_quality:
            return Exclusion.MIN_QUALITY
        if expected.cost[row, candidate] > ask.terms.max_cost_usd:
            return Exclusion.MAX_COST_USD
        return Exclusion.MAX_LATENCY_MS

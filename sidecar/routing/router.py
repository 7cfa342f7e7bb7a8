"""Scores a batch and decides it; answers also when nothing can be scored."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sidecar.errors import RouterError
from sidecar.routing.ask import Ask
from sidecar.routing.decision import Expectations, Outcome
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.rule import Decision, Rule
from sidecar.types import Floats, Pending, Score, ScoreAhead, Scores

log = logging.getLogger(__name__)


class Decided(NamedTuple):
    """Requests that were scored in one run of the model.

    Attributes:
        asks: the B requests.
        expected: each part [B, C].
        outcomes: B choices, or why there is none.
        ids: B names of the decisions.
        began: clock reading when the batch began, in seconds.
        tokenize_s: seconds of tokenising.
        score_s: seconds in the model.
        ended: clock reading when all was decided.
        scored: whether the model really scored them; else the safe candidate answers.
        embedding: [B, D] of the prompts; None where nobody wants them.
        cached: [B] whether the scores were at hand already; empty where nothing is kept.
    """

    asks: Sequence[Ask]
    expected: Expectations
    outcomes: list[Outcome]
    ids: list[str]
    began: float
    tokenize_s: float
    score_s: float
    ended: float
    scored: bool
    cached: tuple[bool, ...] = ()
    embedding: Floats | None = None


class Tally:
    """Plain counters; written by the transport's thread alone."""

    __slots__ = ("batches", "decisions", "degraded")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        self.decisions = self.degraded = self.batches = 0


class Router:
    """Decides batches of requests with one bundle's scores.

    Args:
        rule: how they are decided.
        score: the bundle's scorer; None if there is no usable bundle.
        ids: where the names of decisions come from.
        fault: why there is none.
        clock: monotonic seconds.
        on_fault: called with the reason when scoring begins to fail, with "" when it works again.
    """

    def __init__(
        self,
        rule: Rule,
        score: Score | None,
        ids: DecisionIds,
        clock: Callable[[], float],
        fault: str = "",
        on_fault: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._rule = rule
        self._ids = ids
        self.tally = Tally()
        self.fault = fault
        self.on_fault = on_fault
        self._score = score
        self._clock = clock

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        """Decides a batch. What cannot be scored is answered by the safe candidate; no fault gets out.

        Returns:
            The batch in one piece, or where its run failed, piece by piece in the same order.
        """
        self.tally.decisions += len(asks)
        if self._score is None:
            return [self._degraded(asks, self._clock())]
        began = self._clock()
        try:
            decided = self._decided(asks, self._score([ask.text for ask in asks]), began)
        except Exception as error:  # noqa: BLE001 - whatever a model does, Route answers
            return self._unscored(asks, began, error)
        self._recovered(decided)
        return [decided]

    def begin(self, score: ScoreAhead, asks: Sequence[Ask]) -> Pending:
        """Begins to score a batch. Raises what the scorer raises: `decide` it then, that answers whatever it is."""
        return score.begin([ask.text for ask in asks])

    def finish(self, score: ScoreAhead, asks: Sequence[Ask], pending: Pending) -> list[Decided]:
        """Decides a batch that was begun; as decide."""
        self.tally.decisions += len(asks)
        began = self._clock()
        try:
            scores = score.finish(pending)
            # As if all had been done in one go: what it waited for in between counts as waiting, and not as deciding.
            decided = self._decided(asks, scores, began - scores.tokenize_s - scores.score_s)
        except Exception as error:  # noqa: BLE001 - as in decide
            return self._unscored(asks, began, error)
        self._recovered(decided)
        return [decided]

    def degrade(self, asks: Sequence[Ask]) -> Decided:
        """Decides a batch without scoring it: the safe candidate answers."""
        self.tally.decisions += len(asks)
        return self._degraded(asks, self._clock())

    def _unscored(self, asks: Sequence[Ask], began: float, error: Exception) -> list[Decided]:
        if len(asks) == 1:
            self._faulty(f"scoring failed: {_named(error)}")
            return [self._degraded(asks, began)]
        # One bad input must not degrade its neighbours.
        self.tally.decisions -= len(asks)
        return [piece for ask in asks for piece in self.decide([ask])]

    def _decided(self, asks: Sequence[Ask], scores: Scores, began: float) -> Decided:
        decision = self._rule.choose(asks, scores)
        self.tally.batches += not _at_hand(scores.cached)
        times = (began, scores.tokenize_s, scores.score_s, self._clock())
        ids = self._numbered(asks, decision)
        return Decided(asks, *decision, ids, *times, scored=True, cached=scores.cached, embedding=scores.embedding)

    def _degraded(self, asks: Sequence[Ask], began: float) -> Decided:
        self.tally.degraded += len(asks)
        decision = self._rule.degrade(asks)
        return Decided(asks, *decision, self._numbered(asks, decision), began, 0.0, 0.0, self._clock(), scored=False)

    def _numbered(self, asks: Sequence[Ask], decision: Decision) -> list[str]:
        taken = self._ids.take(len(asks))
        self._rule.took(taken.first, asks, decision)
        return taken.ids

    def _recovered(self, decided: Decided) -> None:
        if self.fault and not _at_hand(decided.cached):
            self._faulty("")  # what was at hand says nothing of the model

    def _faulty(self, reason: str) -> None:
        if bool(reason) == bool(self.fault):
            return  # one line when it begins, one when it ends
        self.fault = reason
        if reason:
            log.error("DEGRADED: %s; the safe candidate answers until scoring works again", reason)
        else:
            log.warning("recovered: requests are scored again")
        self.on_fault(reason)


def _at_hand(cached: tuple[bool, ...]) -> bool:
    """Whether the model did not run at all."""
    return bool(cached) and False not in cached


def _named(error: Exception) -> str:
    # Messages of foreign errors may quote what they choked on, and that is a prompt.
    return str(error) if isinstance(error, RouterError) else type(error).__name__

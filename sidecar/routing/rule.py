"""How a batch is decided: by what the bundle says alone, or with the fleet's live state and the sessions as well."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.routing.ask import Ask
from sidecar.routing.assign import Assignment
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.conversations import Conversations
from sidecar.routing.decision import Expectations, Outcome, choose, degrade
from sidecar.routing.live import Live
from sidecar.types import Scores

Decision = tuple[Expectations, list[Outcome]]


class Rule(Protocol):
    """Decides batches of requests. Belongs to one thread."""

    def choose(self, asks: Sequence[Ask], scores: Scores, /) -> Decision:
        """By the scores."""
        ...

    def degrade(self, asks: Sequence[Ask], /) -> Decision:
        """Without scores."""
        ...


class Unsensed:
    """What the bundle says, the prices and the configured latencies, nothing else.

    Args:
        table: the candidates.
    """

    def __init__(self, table: CandidateTable) -> None:
        self._table = table

    def choose(self, asks: Sequence[Ask], scores: Scores) -> Decision:
        """See Rule."""
        return choose(self._table, asks, scores)

    def degrade(self, asks: Sequence[Ask]) -> Decision:
        """See Rule."""
        return degrade(self._table, asks)


class Sensed:
    """With the fleet's live state and the sessions.

    Args:
        assignment: of the candidates.
        look: the fleet now.
        conversations: the sessions.
    """

    def __init__(self, assignment: Assignment, look: Callable[[], Live], conversations: Conversations) -> None:
        self._assignment = assignment
        self._look = look
        self._conversations = conversations

    def choose(self, asks: Sequence[Ask], scores: Scores) -> Decision:
        """See Rule."""
        held = self._conversations.held(asks)
        expected, outcomes = self._assignment.choose(asks, scores, self._look(), held)
        self._conversations.decided(asks, held, expected, outcomes)
        return expected, outcomes

    def degrade(self, asks: Sequence[Ask]) -> Decision:
        """See Rule. Sessions stay as they were: the safe candidate is not where they belong."""
        return self._assignment.degrade(asks, self._look())

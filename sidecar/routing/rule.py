"""How a batch is decided: by what the bundle says alone, or with the fleet's live state and the sessions as well."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.decision import Expectations, Outcome, choose, degrade
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

    def took(self, first: int, asks: Sequence[Ask], decision: Decision, /) -> None:
        """The batch was decided, and its decisions are numbered from `first` on."""
        ...


MakeRule = Callable[[CandidateTable], Rule]


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

    def took(self, first: int, asks: Sequence[Ask], decision: Decision) -> None:
        """Nobody keeps count."""

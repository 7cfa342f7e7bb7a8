"""Decisions with what became of them, in order of time."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from sidecar.ledger.resolve import Answer, resolve
from sidecar.ledger.rows import Decision
from sidecar.ledger.store import Store

# Decisions that are read at once.
PAGE = 2048


class Past(NamedTuple):
    """A decision and the answers to it, by candidate."""

    decision: Decision
    answers: dict[str, Answer]

    def served(self) -> tuple[str, Answer | None]:
        """Which candidate (or other model) the caller got, as far as is known, and what is known of its answer."""
        for name, answer in self.answers.items():
            if answer.served:
                return name, answer
        model, decision = self.decision.served(), self.decision
        known = dict(zip(decision.models, decision.candidates, strict=True))
        return known.get(model, model), None


def history(store: Store, since: bytes, before: bytes) -> Iterator[list[Past]]:
    """Pages of the past.

    Args:
        store: migrated.
        since: first id; see rows.first_id.
        before: the id behind the last.

    Raises:
        StoreAway: the store does not answer.
    """
    while page := store.decisions(since, before, PAGE):
        last = page[-1].decision_id
        reported = store.outcomes(page[0].decision_id, last)
        by_decision = {name: list(some) for name, some in groupby(reported, key=lambda report: report.decision_id)}
        yield [Past(decision, resolve(decision, by_decision.get(decision.decision_id, ()))) for decision in page]
        since = last + b"\0"  # longer than an id, so the next one in order

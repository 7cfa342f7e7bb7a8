"""Conversations as the decision rule needs them: where each request's session stands, and what is remembered of it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.fleet.sessions import Remembered, digest
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.counts import Counts
from sidecar.routing.decision import Choice, Expectations, Outcome
from sidecar.routing.session import Held, worth_of_cache


class Sessions(Protocol):
    """Where sessions are remembered."""

    def look(self, session: str, /) -> Remembered | None:
        """What is known of a session."""
        ...

    def keep(self, session: str, entry: Remembered, /) -> None:
        """Remembers it."""
        ...


class Conversations:
    """The sessions, in terms of one candidate table.

    Args:
        table: the candidates.
        sessions: where they are remembered.
        forget_s: seconds of silence after which a provider's cache, and the session, are gone.
        unix: Unix seconds.
        counts: where changes of the candidate are counted.
    """

    def __init__(
        self,
        table: CandidateTable,
        sessions: Sessions,
        forget_s: float,
        unix: Callable[[], float],
        counts: Counts,
    ) -> None:
        self._table = table
        self._counts = counts
        self._sessions = sessions
        self._forget_s = forget_s
        self._unix = unix
        self._digests = [digest(name) for name in table.names]
        self._candidates = {known: candidate for candidate, known in enumerate(self._digests)}

    def held(self, asks: Sequence[Ask]) -> list[Held | None]:
        """Where the session of each request stands; None where it has none, or nothing is known of it."""
        return [self._held(ask) if ask.session else None for ask in asks]

    def decided(
        self, asks: Sequence[Ask], held: Sequence[Held | None], expected: Expectations, outcomes: Sequence[Outcome]
    ) -> None:
        """Remembers what was decided. Of two turns in one batch the later one counts."""
        now = self._unix()
        for row, (ask, outcome) in enumerate(zip(asks, outcomes, strict=True)):
            if ask.session and isinstance(outcome, Choice):
                self._decided(row, ask, held[row] or Held(-1, 0.0), expected, outcome, now)

    def _held(self, ask: Ask) -> Held | None:
        entry = self._sessions.look(ask.session)
        if entry is not None and self._unix() - entry.seen > self._forget_s:
            entry = None
        candidate = self._candidates.get(entry.model, -1) if entry else -1
        tokens = entry.tokens if entry else 0.0
        if ask.current_model and (named := self._table.find(ask.current_model)) != candidate:
            candidate, tokens = named, 0.0
        if ask.cached_tokens is not None:
            tokens = float(ask.cached_tokens)
        if entry is None:
            return Held(candidate, tokens) if candidate >= 0 else None
        return Held(candidate, tokens, entry.spent_usd, entry.cost_usd, entry.failed)

    def _decided(self, row: int, ask: Ask, held: Held, expected: Expectations, choice: Choice, now: float) -> None:
        chosen = self._table.find(ask.current_model) if ask.log_only else choice.ranking[0]
        if chosen < 0:
            return  # a model of the caller's that is none of ours
        if 0 <= held.candidate != chosen:
            self._counts.switches += 1
        lost = 0.0 if chosen == held.candidate else worth_of_cache(self._table, held, ask.prompt_tokens)
        cost = float(expected.cost[row, chosen])
        self._sessions.keep(
            ask.session,
            Remembered(
                self._digests[chosen],
                ask.prompt_tokens + float(expected.tokens[row, chosen]),
                held.spent_usd + lost,
                held.cost_usd + cost,
                now,
            ),
        )

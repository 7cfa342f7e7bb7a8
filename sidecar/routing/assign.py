"""The decision rule over a batch, with live load, sessions and everything that may exclude a candidate for a while.

Requests of a batch are assigned one after another: each one adds to its candidate's wait, which the next one sees. So a batch never rushes to the candidate that a moment ago had the shortest queue. What others are doing at the same
time is not known as exactly; candidates whose utilities differ by less than that uncertainty (`Live.blur`) are drawn from,
and the probability is recorded as the choice's propensity.

A request that joins a queue pays not only for its own wait but for that of those who come after it (`Live.congestion`): else
the queue of the cheapest candidate grows in a burst until its wait eats up all that its price saves, while others idle.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from sidecar.fleet.closed import Closed
from sidecar.fleet.view import Fleet
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable, Column, Mask
from sidecar.routing.counts import Counts
from sidecar.routing.decision import (
    NOVEL_FROM,
    Choice,
    Expectations,
    Matrix,
    Needs,
    Outcome,
    Reason,
    fits,
    needs_of,
    no_candidate,
    over_budget,
)
from sidecar.routing.draw import Draw, pick
from sidecar.routing.few import Few
from sidecar.routing.live import Live, at_rest
from sidecar.routing.plain import Plain
from sidecar.routing.room import Offer, Room
from sidecar.routing.session import Held, may_leave, worth_of_cache
from sidecar.types import Scores


class Rules(NamedTuple):
    """What the operator decides once for all requests.

    Attributes:
        max_switch_share: see sidecar.routing.session.may_leave.
        last_resort: who answers when every admissible candidate is blocked.
    """

    max_switch_share: float = 0.25
    last_resort: Literal["soonest", "safe"] = "soonest"


class Assignment:
    """Assigns batches of one candidate table. Belongs to one thread.

    Args:
        table: the candidates.
        rules: of the operator.
        draw: where chance comes from.
        counts: where turns that may not leave are counted.
    """

    def __init__(self, table: CandidateTable, rules: Rules, draw: Draw, counts: Counts) -> None:
        self._table = table
        self._counts = counts
        self._rules = rules
        self._draw = draw
        self._offer = Offer(table.offered)
        self._plainly = Plain(self._offer.indices, draw)
        self._few = Few(table, self._plainly)
        self._seen = at_rest(table)
        self._room = Room(self._seen.fleet, self._offer)

    def choose(
        self, asks: Sequence[Ask], scores: Scores, live: Live, held: Sequence[Held | None]
    ) -> tuple[Expectations, list[Outcome]]:
        """Decides a batch; requests whose limits exclude every candidate get NoCandidate.

        Args:
            asks: B requests.
            scores: of them, [B, C].
            live: the fleet now. If the same one is given again, it counts with what was assigned since.
            held: where the session of each request stands; None if it has none, or this is its first turn.
        """
        if live is not self._seen:  # else what was assigned since then is taken off already
            self._seen, self._room = live, Room(live.fleet, self._offer)
        room = self._room
        if len(asks) <= self._few.most and room.even:
            for ask, session in zip(asks, held, strict=True):
                if session is not None or not self._plain(ask, live):
                    break
            else:
                return self._few.choose(asks, scores, room, live.blur, live.congestion)
        return self._many(asks, scores, live, room, held)

    def _many(
        self, asks: Sequence[Ask], scores: Scores, live: Live, room: Room, held: Sequence[Held | None]
    ) -> tuple[Expectations, list[Outcome]]:
        needs = needs_of(asks)
        expected = self._expect(asks, needs, *_wide(scores), live.fleet, held)
        # Most requests limit nothing: for these, plain lists of a few numbers are several times quicker than arrays.
        lists = expected.utility.tolist()
        # All at once is a third of the time that one after the other takes; of no use once somebody has to wait.
        orders = (
            np.argsort(-expected.utility, axis=1, kind="stable").tolist()
            if len(room.indices) == len(self._table) and not room.queued
            else None
        )
        waits: list[list[float]] = []
        nobody = room.wait.copy()
        outcomes: list[Outcome] = []
        novelty = scores.novelty.tolist()
        for row, ask in enumerate(asks):
            wait, queued = room.wait, room.queued
            waits.append(wait.copy() if queued else nobody)
            if room.even and held[row] is None and self._plain(ask, live):
                price, unloaded = ask.terms.second_value_usd * live.congestion, lists[row]
                loaded = [usd - price * s for usd, s in zip(unloaded, wait, strict=True)] if queued else unloaded
                order = None if queued or orders is None else orders[row]
                outcomes.append(self._plainly(unloaded, loaded, novelty[row], room, live.blur * price, order))
                continue
            found = self._particular(row, ask, expected, live, room, held[row], novelty[row])
            if isinstance(found, Choice):
                room.take(found.ranking[0])
            outcomes.append(found)
        if room.queued:
            loaded = np.array(waits)
            toll = needs.second_value_usd * live.congestion * loaded
            seconds, utility = expected.seconds + loaded, expected.utility - toll
            expected = expected._replace(seconds=seconds, utility=utility)
        return expected, outcomes

    def degrade(self, asks: Sequence[Ask], live: Live) -> tuple[Expectations, list[Outcome]]:
        """Decides a batch without scores: the safe candidate, else the best by prior that is not blocked.

        Limits on quality, cost and time are not tested, since nothing is known of them.
        """
        table = self._table
        shape = (len(asks), len(table))
        prior, tokens = np.broadcast_to(table.prior_quality, shape), np.broadcast_to(table.mean_output_tokens, shape)
        expected = self._expect(asks, needs_of(asks), prior, tokens, live.fleet, [None] * len(asks))
        preferred = [
            table.safe,
            *(c for c in np.argsort(-table.prior_quality, kind="stable").tolist() if c != table.safe),
        ]
        outcomes: list[Outcome] = []
        for row, ask in enumerate(asks):
            left, closed = self._named(ask), _closed(live, ask)
            open_ = _open(left & ~live.fleet.open, closed)
            if open_.any():
                ranking = [c for c in preferred if open_[c]]
                outcomes.append(Choice(ranking, (Reason.DEGRADED,), 1.0, admitted=left, closed=closed))
            elif left.any():
                outcomes.append(self._last(ask, left, live, closed, expected.utility[row], (Reason.DEGRADED,), 1.0))
            else:
                outcomes.append(no_candidate(table, ask, expected, row, live.fleet.known))
        return expected, outcomes

    def _expect(
        self,
        asks: Sequence[Ask],
        needs: Needs,
        quality: Matrix,
        tokens: Matrix,
        fleet: Fleet,
        held: Sequence[Held | None],
    ) -> Expectations:
        """What is expected if nobody has to wait; a session's cache makes its own candidate cheaper."""
        table = self._table
        tokens = np.minimum(tokens, needs.max_output_tokens)
        cost = needs.prompt_tokens * table.input_usd + tokens * table.output_usd
        for row, session in enumerate(held):
            if session is not None and (saved := worth_of_cache(table, session, asks[row].prompt_tokens)):
                cost[row, session.candidate] -= saved
        seconds = fleet.first_token_seconds + tokens * fleet.seconds_per_token
        utility = needs.answer_value_usd * quality - cost - needs.second_value_usd * seconds
        return Expectations(quality, cost, seconds, utility, tokens)

    def _particular(
        self, row: int, ask: Ask, batch: Expectations, live: Live, room: Room, held: Held | None, novelty: float
    ) -> Outcome:
        """Decides a request that limits something, belongs to a session, or finds candidates that are on their way back."""
        table, price = self._table, ask.terms.second_value_usd * live.congestion
        unloaded, wait = batch.utility[row], np.array(room.wait)
        expected = batch._replace(seconds=batch.seconds + wait, utility=batch.utility - price * wait)
        utility = expected.utility[row]
        admitted = self._admitted(ask, expected, row, live)
        if not admitted.any():
            return no_candidate(table, ask, expected, row, live.fleet.known)
        reasons = _learned(novelty)
        closed = _closed(live, ask)
        open_ = _open(admitted & room.open, closed)
        if not open_.any():
            return self._last(ask, admitted, live, closed, utility, reasons, novelty)
        chosen, propensity = pick(utility, open_, live.fleet.share, live.blur * price, self._draw)
        keep = -1 if held is None else self._keeps(chosen, held, ask, expected, row, open_)
        if keep >= 0:
            chosen, propensity, reasons = keep, 1.0, (*reasons, Reason.STICKY)
        else:
            reasons += self._why(chosen, propensity, unloaded, admitted)
        order = np.argsort(np.where(open_, -utility, np.inf), kind="stable")[: int(open_.sum())].tolist()
        return Choice(_first(chosen, order), reasons, float(novelty), propensity, 0.0, admitted, closed)

    def _why(self, chosen: int, propensity: float, unloaded: Column, admitted: Mask) -> tuple[Reason, ...]:
        """What else beside the learned quality decided."""
        why: tuple[Reason, ...] = (Reason.SPREAD,) if propensity < 1.0 else ()
        best = int(unloaded.argmax())
        if chosen == best:
            return why
        if not self._table.offered[best]:  # what the operator does not offer at all is no constraint of the request's
            best = int(np.where(self._table.offered, unloaded, -np.inf).argmax())
        if not admitted[best]:
            why = (*why, Reason.CONSTRAINT)
        if chosen != int(np.where(admitted, unloaded, -np.inf).argmax()):
            why = (*why, Reason.LOAD)
        return why

    def _keeps(self, chosen: int, held: Held, ask: Ask, expected: Expectations, row: int, open_: Mask) -> int:
        """The session's candidate if the turn stays with it for its cache's sake; else -1."""
        loss = worth_of_cache(self._table, held, ask.prompt_tokens)
        if not loss or not open_[held.candidate]:
            return -1
        if chosen != held.candidate:
            stay_usd = float(expected.cost[row, held.candidate])
            if may_leave(held, loss, stay_usd, self._rules.max_switch_share):
                return -1
            self._counts.forced_stays += 1
            return held.candidate
        without = np.where(open_, expected.utility[row], -np.inf)
        without[held.candidate] -= loss
        return -1 if int(without.argmax()) == held.candidate else held.candidate

    def _last(
        self,
        ask: Ask,
        admitted: Mask,
        live: Live,
        closed: Closed | None,
        utility: Matrix,
        reasons: tuple[Reason, ...],
        novelty: float,
    ) -> Outcome:
        """Everybody is blocked: who is expected back first, of equals the best; or first the safe candidate.

        Who works comes before who does not, whatever its budgets say; but whom one of them refuses does not answer at all.
        In log-only mode the caller's own model does, so nobody is refused.
        """
        works, opens, left = live.fleet.recovery_seconds, np.zeros(len(admitted)), admitted
        if closed is not None:
            opens = closed.recovery_seconds
            left = admitted if ask.log_only else admitted & ~closed.refused
            if not left.any():
                return over_budget(closed, admitted, ask)
        order = [int(c) for c in np.lexsort((-utility, opens, works)) if left[c]]
        safe = self._table.safe
        if self._rules.last_resort == "safe" and left[safe]:
            order = _first(safe, order)
        recovery_s = float(max(works[order[0]], opens[order[0]]))
        return Choice(order, (*reasons, Reason.LAST_RESORT), novelty, 1.0, recovery_s, admitted, closed)

    def _plain(self, ask: Ask, live: Live) -> bool:
        """Whether a request limits nothing."""
        if ask.limited or not (ask.admitted is None or ask.admitted is self._table.offered):
            return False
        return live.barred is None or live.barred(ask.segment) is None

    def _named(self, ask: Ask) -> Mask:
        left: Mask = self._table.offered if ask.admitted is None else ask.admitted
        return left & fits(self._table, ask) if ask.limited else left

    def _admitted(self, ask: Ask, expected: Expectations, row: int, live: Live) -> Mask:
        named = self._named(ask)
        if not ask.limited:
            return named
        terms = ask.terms
        admitted: Mask = (
            named & (expected.quality[row] >= terms.min_quality) & (expected.cost[row] <= terms.max_cost_usd)
        )
        if terms.max_seconds != np.inf:
            admitted &= live.fleet.known & (expected.seconds[row] <= terms.max_seconds)
        return admitted


def _learned(novelty: float) -> tuple[Reason, ...]:
    return (Reason.LEARNED, Reason.NOVEL) if novelty > NOVEL_FROM else (Reason.LEARNED,)


def _first(chosen: int, ranking: list[int]) -> list[int]:
    if ranking[0] != chosen:
        ranking.remove(chosen)
        ranking.insert(0, chosen)
    return ranking


def _closed(live: Live, ask: Ask) -> Closed | None:
    return live.barred(ask.segment) if live.barred else None


def _open(left: Mask, closed: Closed | None) -> Mask:
    return left if closed is None else left & ~closed.exhausted


def _wide(scores: Scores) -> tuple[Matrix, Matrix]:
    return scores.quality.astype(np.float64), scores.output_tokens.astype(np.float64)

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
)
from sidecar.routing.draw import Draw, Pick, pick, quick
from sidecar.routing.live import Live, at_rest
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


class _Room:
    """What is left of a fleet while a batch is assigned: each request takes its part.

    Attributes:
        wait: [C] seconds, as plain numbers.
        queued: whether anybody would have to wait anywhere.
        open: [C] who is offered and may be chosen.
        even: whether there is somebody, and nobody is on its way back or limited to some calls.
    """

    __slots__ = ("_backlog", "_crowd", "_quota", "_step", "even", "open", "queued", "wait")

    def __init__(self, fleet: Fleet, offered: Mask, *, all_offered: bool) -> None:
        self.wait: list[float] = fleet.wait_seconds.tolist()
        self._backlog: list[float] = fleet.backlog.tolist()
        self._step: list[float] = fleet.step_seconds.tolist()
        self._quota: Column | None = None
        self._crowd = fleet.crowd
        self.queued = any(self.wait)
        self.open, self.even = offered, True
        if fleet.plain and all_offered:
            return
        self.open = offered & ~fleet.open
        if self.open.any():
            self.even = bool(fleet.share[self.open].min() >= 1.0 and fleet.quota[self.open].min() == np.inf)
        else:
            self.even = False
        if not self.even:
            self._quota = fleet.quota.copy()

    def take(self, candidate: int) -> None:
        """A request goes to a candidate."""
        left = self._backlog[candidate] = self._backlog[candidate] + self._crowd
        if left > 0.0:
            self.wait[candidate] = left * self._step[candidate]
            self.queued = True
        if self._quota is not None:
            self._quota[candidate] -= 1.0
            if self._quota[candidate] < 1.0:
                self.open = self.open.copy()
                self.open[candidate] = False


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
        self._all_offered = bool(table.offered.all())
        self._seen = at_rest(table)
        self._room = _Room(self._seen.fleet, table.offered, all_offered=self._all_offered)

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
        needs, fleet = needs_of(asks), live.fleet
        expected = self._expect(asks, needs, *_wide(scores), fleet, held)
        if live is not self._seen:  # else what was assigned since then is taken off already
            self._seen, self._room = live, _Room(fleet, self._table.offered, all_offered=self._all_offered)
        room = self._room
        open_, all_open = room.open, room.open is self._table.offered and self._all_offered
        # Most requests limit nothing: for these, plain lists of a few numbers are several times quicker than arrays.
        lists = (expected.utility if all_open else np.where(open_, expected.utility, -np.inf)).tolist()
        waits: list[list[float]] = []
        outcomes: list[Outcome | Pick] = []
        for row, ask in enumerate(asks):
            waits.append(room.wait.copy())
            if room.even and held[row] is None and self._plain(ask, live):
                price = ask.terms.second_value_usd * live.congestion
                picked = quick(lists[row], room.wait, price, live.blur, self._draw)
                room.take(picked.candidate)
                outcomes.append(picked)
                continue
            found = self._particular(row, ask, expected, live, room, held[row], float(scores.novelty[row]))
            if isinstance(found, Choice):
                room.take(found.ranking[0])
            outcomes.append(found)
        utility, seconds = expected.utility, expected.seconds
        if room.queued:
            loaded = np.array(waits)
            utility, seconds = utility - needs.second_value_usd * live.congestion * loaded, seconds + loaded
        if all_open:
            order, best = np.argsort(-utility, axis=1, kind="stable"), [max(row) for row in lists]
        else:
            order = np.argsort(np.where(open_, -utility, np.inf), axis=1, kind="stable")[:, : int(open_.sum())]
            best = np.where(self._table.offered, expected.utility, -np.inf).max(axis=1).tolist()
        rankings, novelty = order.tolist(), scores.novelty.tolist()
        return expected._replace(seconds=seconds, utility=utility), [
            _plainly(found, rankings[row], lists[row], best[row], novelty[row]) if isinstance(found, Pick) else found
            for row, found in enumerate(outcomes)
        ]

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
            left = self._named(ask)
            open_ = left & ~live.fleet.open & np.logical_not(_barred(live, ask))
            if open_.any():
                outcomes.append(Choice([c for c in preferred if open_[c]], (Reason.DEGRADED,), 1.0))
            elif left.any():
                ranking = self._by_recovery(left, live, expected.utility[row])
                reasons = (Reason.DEGRADED, Reason.LAST_RESORT)
                outcomes.append(
                    Choice(ranking, reasons, 1.0, recovery_s=float(live.fleet.recovery_seconds[ranking[0]]))
                )
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
        self, row: int, ask: Ask, batch: Expectations, live: Live, room: _Room, held: Held | None, novelty: float
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
        open_ = admitted & room.open & np.logical_not(_barred(live, ask))
        if not open_.any():
            ranking = self._by_recovery(admitted, live, utility)
            recovery_s = float(live.fleet.recovery_seconds[ranking[0]])
            return Choice(ranking, (*reasons, Reason.LAST_RESORT), novelty, recovery_s=recovery_s)
        chosen, propensity = pick(utility, open_, live.fleet.share, live.blur * price, self._draw)
        keep = -1 if held is None else self._keeps(chosen, held, ask, expected, row, open_)
        if keep >= 0:
            chosen, propensity, reasons = keep, 1.0, (*reasons, Reason.STICKY)
        else:
            reasons += self._why(chosen, propensity, unloaded, admitted)
        order = np.argsort(np.where(open_, -utility, np.inf), kind="stable")[: int(open_.sum())].tolist()
        return Choice(_first(chosen, order), reasons, float(novelty), propensity)

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

    def _by_recovery(self, admitted: Mask, live: Live, utility: Matrix) -> list[int]:
        """Everybody is blocked: who is expected back first, of equals the best; or first the safe candidate."""
        order = [int(c) for c in np.lexsort((-utility, live.fleet.recovery_seconds)) if admitted[c]]
        safe = self._table.safe
        return _first(safe, order) if self._rules.last_resort == "safe" and admitted[safe] else order

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


def _plainly(found: Pick, ranking: list[int], unloaded: list[float], best: float, novelty: float) -> Choice:
    reasons = _learned(novelty)
    if found.propensity < 1.0:
        reasons = (*reasons, Reason.SPREAD)
    if unloaded[found.candidate] < best:
        reasons = (*reasons, Reason.LOAD)
    return Choice(_first(found.candidate, ranking), reasons, novelty, found.propensity)


def _learned(novelty: float) -> tuple[Reason, ...]:
    return (Reason.LEARNED, Reason.NOVEL) if novelty > NOVEL_FROM else (Reason.LEARNED,)


def _first(chosen: int, ranking: list[int]) -> list[int]:
    if ranking[0] != chosen:
        ranking.remove(chosen)
        ranking.insert(0, chosen)
    return ranking


def _barred(live: Live, ask: Ask) -> Mask | bool:
    barred = live.barred(ask.segment) if live.barred else None
    return False if barred is None else barred


def _wide(scores: Scores) -> tuple[Matrix, Matrix]:
    return scores.quality.astype(np.float64), scores.output_tokens.astype(np.float64)

"""What adopting the router would change: log-only decisions, where the caller's own model answered.

Or what it does change: applied decisions, against one and the same candidate for all of them.

Sums only, page by page: a million decisions take no more memory than a thousand.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np

from sidecar.decisions.change import Adoption, Move, Side, Single, Slice
from sidecar.decisions.latest import moment
from sidecar.decisions.pairs import COST, QUALITY, SECONDS, UTILITY, Pairs, pages
from sidecar.decisions.sums import OTHERS, Sums
from sidecar.decisions.trust import Trust
from sidecar.ledger.resolve import Answer, resolve
from sidecar.ledger.rows import PARTS, Decision, Reported
from sidecar.ledger.store import Store, Which

DAY_S = 86400.0
# A rate seen for less than this says nothing of a day.
LEAST_SPAN_S = 3600.0
# Segments and unknown models are the callers' words: of more than so many different ones the rest is put together.
MOST_WORDS = 1000


def adoption(store: Store, which: Which, aliases: Mapping[str, str], most: int, against: str = "") -> Adoption | None:
    """Reads all log-only decisions, or with `against` all applied ones; None if there is none.

    Args:
        store: where they are.
        which: of them.
        aliases: other names of candidates, as configured.
        most: entries of `moves`, `singles` and `unknown`.
        against: a candidate's name, model or alias: what if it had answered everything?

    Raises:
        StoreAway: the store does not answer.
    """
    gathering = _Gathering(most, against)
    for page in pages(store, which, aliases, against):
        for pairs in page:
            gathering.take(pairs)
            known = [
                decision.decision_id
                for decision, at in zip(pairs.decisions, gathering.answering(pairs), strict=True)
                if at >= 0
            ]
            if known:
                gathering.measure(pairs, store.outcomes_of(known))
    return gathering.found() if gathering.decisions else None


class _Gathering:
    def __init__(self, most: int, against: str) -> None:
        self.decisions = 0
        self._against = against
        self._most = most
        self._first = self._last = 0.0
        self._unscored = self._elsewhere = 0
        # Of each segment: decisions, unknown, differ, inadmissible, then [2, 4] sums of what was expected.
        self._segments = Sums(4 + 2 * PARTS, MOST_WORDS)
        # Of each pair: decisions, then sums of the differences.
        self._moves = Sums(1 + PARTS, None)
        self._singles: list[tuple[float, str, Single]] = []
        self._unknown: Counter[str] = Counter()
        self._trust = Trust()

    def take(self, pairs: Pairs) -> None:
        decisions, size = pairs.decisions, len(pairs.decisions)
        times = [decision.decided_at for decision in decisions]
        self._first = min(times) if not self.decisions else min(self._first, *times)
        self._last = max(self._last, *times)
        self.decisions += size
        self._unscored += sum("DEGRADED" in decision.reasons for decision in decisions)
        current, chosen = np.array(pairs.current), np.array(pairs.chosen)
        known = current >= 0
        differing = np.flatnonzero(known & (current != chosen)).tolist()
        numbers = np.zeros((size, 4 + 2 * PARTS))
        numbers[:, 0], numbers[:, 1] = 1.0, ~known
        numbers[differing, 2] = 1.0
        numbers[differing, 3] = [not pairs.admissible(row) for row in differing]
        numbers[:, 4:] = np.where(known[:, None, None], pairs.expected, 0.0).reshape(size, -1)
        self._segments.add([(decision.segment,) for decision in decisions], numbers)
        for decision, at in zip(decisions, pairs.current, strict=True):
            if at < 0:
                self._count_unknown(self._against or decision.current_model)
        if differing:
            self._differ(pairs, differing)

    def _differ(self, pairs: Pairs, rows: list[int]) -> None:
        names = pairs.decisions[0].candidates
        change = pairs.expected[rows, 1] - pairs.expected[rows, 0]
        keys = [(names[pairs.current[row]], names[pairs.chosen[row]]) for row in rows]
        self._moves.add(keys, np.column_stack([np.ones(len(rows)), change]))
        largest = np.argsort(-np.abs(change[:, UTILITY]), kind="stable")[: self._most]
        for at in largest.tolist():
            single = _single(pairs, rows[at], keys[at], change[at].tolist())
            entry = (abs(single.utility_usd), single.id, single)  # ids differ: singles themselves are never compared
            if len(self._singles) < self._most:
                heapq.heappush(self._singles, entry)
            elif entry > self._singles[0]:
                heapq.heapreplace(self._singles, entry)

    def _count_unknown(self, model: str) -> None:
        self._unknown[model if model in self._unknown or len(self._unknown) < MOST_WORDS else OTHERS] += 1

    def answering(self, pairs: Pairs) -> Sequence[int]:
        """[N] whose answers the callers got, as far as is known: the caller's own model, or the choice."""
        return pairs.chosen if self._against else pairs.current

    def measure(self, pairs: Pairs, reported: Iterable[Reported]) -> None:
        """Compares what was reported of these decisions with what was expected."""
        rows = {decision.decision_id: row for row, decision in enumerate(pairs.decisions)}
        for decision_id, reports in groupby(reported, key=lambda report: report.decision_id):
            row = rows[decision_id]
            decision = pairs.decisions[row]
            name = decision.candidates[self.answering(pairs)[row]]
            names = {name} if self._against else {name, decision.current_model}
            answer = _served(decision, list(reports), names)
            if answer is None:
                self._elsewhere += 1
            else:
                self._compare(name, answer, pairs.expected[row, int(bool(self._against))].tolist())

    def _compare(self, name: str, answer: Answer, expected: list[float]) -> None:
        if answer.quality is not None:
            self._trust.add(name, "quality", expected[QUALITY], answer.quality)
        if answer.error:
            return  # a call that failed tells nothing of what an answer costs and how long it takes
        if answer.cost_usd is not None:
            self._trust.add(name, "cost_usd", expected[COST], answer.cost_usd)
        if answer.latency_ms is not None and expected[SECONDS] > 0.0:
            self._trust.add(name, "seconds", expected[SECONDS], answer.latency_ms / 1000.0)

    def found(self) -> Adoption:
        span = self._last - self._first
        rate = (self.decisions - 1) / span * DAY_S if span >= LEAST_SPAN_S else None
        segments = self._segments.most()
        differing = sum(int(numbers[2]) for _, numbers in segments)
        moves = self._moves.most()[: self._most]
        return Adoption(
            first=moment(self._first),
            last=moment(self._last),
            span_seconds=span,
            requests_per_day=rate,
            unscored=self._unscored,
            overall=self._slice("", np.sum([numbers for _, numbers in segments], axis=0).tolist(), rate),
            segments=[self._slice(segment, numbers, rate) for (segment,), numbers in segments],
            moves=[_move(key, numbers, differing) for key, numbers in moves],
            singles=[single for _, _, single in sorted(self._singles, reverse=True)],
            unknown=dict(self._unknown.most_common(self._most)),
            elsewhere=self._elsewhere,
            compared=self._trust.found(),
            against=self._against,
        )

    def _slice(self, segment: str, numbers: Sequence[float], rate: float | None) -> Slice:
        decisions, unknown, differ, inadmissible = (int(number) for number in numbers[:4])
        known = decisions - unknown
        per_day = None if rate is None else rate * known / self.decisions
        sides = [numbers[at : at + PARTS] for at in (4, 4 + PARTS)]
        caller, router = (_side(side, known, per_day) if known else None for side in sides)
        return Slice(
            segment, decisions, unknown, differ, differ / known if known else 0.0, inadmissible, caller, router
        )


def _served(decision: Decision, reports: list[Reported], names: set[str]) -> Answer | None:
    """The answer that the caller got, if its own model gave it."""
    for name, answer in resolve(decision, reports).items():
        if answer.served:
            return answer if name in names else None
    return None


def _side(sums: Sequence[float], known: int, per_day: float | None) -> Side:
    quality, cost, seconds, utility = (total / known for total in sums)
    return Side(
        1000.0 * quality,
        1000.0 * cost,
        seconds,
        1000.0 * utility,
        None if per_day is None else per_day * quality,
        None if per_day is None else per_day * cost,
    )


def _move(key: tuple[str, ...], numbers: Sequence[float], differing: int) -> Move:
    count = int(numbers[0])
    quality, cost, seconds, utility = (total / count for total in numbers[1:])
    current, chosen = key
    return Move(current, chosen, count, count / differing, 1000.0 * quality, 1000.0 * cost, seconds, 1000.0 * utility)


def _single(pairs: Pairs, row: int, names: tuple[str, str], change: list[float]) -> Single:
    decision = pairs.decisions[row]
    return Single(
        decision.decision_id.hex(),
        moment(decision.decided_at),
        decision.segment,
        *names,
        pairs.admissible(row),
        *change,
    )

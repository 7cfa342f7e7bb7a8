"""What a new bundle would have decided otherwise than the running one, on recent requests.

Read the figures for what they are: nobody knows here which answer was right. The quality on either side is that bundle's
own opinion, so a bundle that thinks well of every candidate looks better than a modest one; and the requests are those of
a recent while, their texts cut by the running bundle's recipe. Agreement and shares tell how much will change, cost what
it will cost if the expected answer lengths hold. Whether the change is for the better, only outcomes tell.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.decision import Choice, Expectations, Outcome, choose
from sidecar.routing.recorded import Comparison, Figures, Recorded
from sidecar.types import Score

BATCH = 32


class Side(NamedTuple):
    """One of the two bundles that are compared.

    Attributes:
        table: its candidates, joined with the configuration.
        score: its scorer.
    """

    table: CandidateTable
    score: Score


class _Verdict(NamedTuple):
    """What one bundle made of one request; the name is empty where it chose nobody."""

    name: str
    cost: float = 0.0
    quality: float = 0.0
    scored: bool = True


def compare(running: Side, candidate: Side, sample: Sequence[Recorded]) -> Comparison:
    """Decides every request with both bundles, in batches of 32."""
    before = _verdicts(running, sample)
    after = _verdicts(candidate, sample)
    pairs = list(zip(before, after, strict=True))
    alike = sum(old.scored and new.scored and old.name == new.name for old, new in pairs)
    both = [pair for pair in pairs if all(verdict.name for verdict in pair)]
    return Comparison(
        requests=len(pairs),
        agreement=alike / len(pairs) if pairs else 0.0,
        before=_figures(before, [old for old, _ in both]),
        after=_figures(after, [new for _, new in both]),
    )


def _figures(verdicts: Sequence[_Verdict], shared: Sequence[_Verdict]) -> Figures:
    chosen = Counter(verdict.name for verdict in verdicts if verdict.name)
    return Figures(
        share={name: count / chosen.total() for name, count in sorted(chosen.items())},
        mean_cost_usd=_mean([verdict.cost for verdict in shared]),
        mean_quality=_mean([verdict.quality for verdict in shared]),
        undecided=sum(verdict.scored and not verdict.name for verdict in verdicts),
        unscored=sum(not verdict.scored for verdict in verdicts),
    )


def _verdicts(side: Side, sample: Sequence[Recorded]) -> list[_Verdict]:
    asks = [recorded.to_ask(side.table) for recorded in sample]
    return [verdict for at in range(0, len(asks), BATCH) for verdict in _decide(side, asks[at : at + BATCH])]


def _decide(side: Side, asks: Sequence[Ask]) -> list[_Verdict]:
    try:
        scores = side.score([ask.text for ask in asks])
        expected, outcomes = choose(side.table, asks, scores)
    except Exception:  # noqa: BLE001 - as the router: whatever a model does, its neighbours are decided
        if len(asks) == 1:
            return [_Verdict("", scored=False)]
        return [verdict for ask in asks for verdict in _decide(side, [ask])]
    return [_verdict(side.table, expected, outcome, row) for row, outcome in enumerate(outcomes)]


def _verdict(table: CandidateTable, expected: Expectations, outcome: Outcome, row: int) -> _Verdict:
    if not isinstance(outcome, Choice):
        return _Verdict("")
    first = outcome.ranking[0]
    return _Verdict(table.names[first], float(expected.cost[row, first]), float(expected.quality[row, first]))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0

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

import msgspec
import numpy as np

from sidecar.config import MIN_SAMPLE
from sidecar.errors import BundleError
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable, Mask
from sidecar.routing.decision import Choice, Expectations, Outcome, choose
from sidecar.routing.policy import Terms
from sidecar.types import Score

BATCH = 32


class Recorded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A recent request as plain data: it names candidates instead of numbering them, so any bundle can decide it.

    An absent limit is None, not infinity: JSON has no infinity.

    Attributes:
        text: the window that was scored.
        segment: in force.
        policy: name of the policy in force, or `inline`.
        answer_value_usd: what one acceptable answer is worth.
        prompt_tokens: of the whole prompt.
        second_value_usd: what one second of waiting costs.
        min_quality: candidates below are not admissible.
        max_cost_usd: candidates above are not admissible.
        max_seconds: candidates above are not admissible.
        max_output_tokens: the answer's limit.
        admitted: names of the candidates that the request's own names and capabilities left; None if it left all that
            are offered. A candidate that only a later bundle has is not among them.
    """

    text: str
    segment: str
    policy: str
    answer_value_usd: float
    prompt_tokens: int
    second_value_usd: float = 0.0
    min_quality: float = 0.0
    max_cost_usd: float | None = None
    max_seconds: float | None = None
    max_output_tokens: float | None = None
    admitted: tuple[str, ...] | None = None

    @classmethod
    def of(cls, ask: Ask, table: CandidateTable) -> "Recorded":
        """Records a request.

        Args:
            ask: the request.
            table: the candidates that it was made for.
        """
        free = ask.admitted is None or bool((ask.admitted == table.offered).all())
        return cls(
            text=ask.text,
            segment=ask.segment,
            policy=ask.policy,
            answer_value_usd=ask.terms.answer_value_usd,
            prompt_tokens=ask.prompt_tokens,
            second_value_usd=ask.terms.second_value_usd,
            min_quality=ask.terms.min_quality,
            max_cost_usd=_finite(ask.terms.max_cost_usd),
            max_seconds=_finite(ask.terms.max_seconds),
            max_output_tokens=_finite(ask.max_output_tokens),
            admitted=None if free else tuple(np.array(table.names)[ask.admitted].tolist()),
        )

    def to_ask(self, table: CandidateTable) -> Ask:
        """The request as it would reach a router with these candidates; envelope and clock readings are lost."""
        terms = Terms(
            self.answer_value_usd,
            self.second_value_usd,
            self.min_quality,
            _limit(self.max_cost_usd),
            _limit(self.max_seconds),
        )
        return Ask(
            text=self.text,
            envelope="",
            segment=self.segment,
            policy=self.policy,
            terms=terms,
            prompt_tokens=self.prompt_tokens,
            max_output_tokens=_limit(self.max_output_tokens),
            admitted=self._mask(table),
            limited=True,  # only spares tests that pass anyway
            arrived=0.0,
            ready=0.0,
        )

    def _mask(self, table: CandidateTable) -> Mask:
        if self.admitted is None:
            return table.offered
        names = frozenset(self.admitted)
        return table.offered & np.array([name in names for name in table.names], np.bool_)


class Side(NamedTuple):
    """One of the two bundles that are compared.

    Attributes:
        table: its candidates, joined with the configuration.
        score: its scorer.
    """

    table: CandidateTable
    score: Score


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one bundle made of the requests.

    Attributes:
        share: by candidate, of the requests that this bundle decided; candidates that were never chosen are left out.
        mean_cost_usd: expected, of the candidates that it chose where both bundles chose one; 0 if there is no such
            request.
        mean_quality: likewise, in its own opinion.
        undecided: requests whose limits left it no candidate.
        unscored: requests that its model failed to score; live, the safe candidate would have answered these.
    """

    share: dict[str, float]
    mean_cost_usd: float
    mean_quality: float
    undecided: int
    unscored: int


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two bundles on the same requests. Holds no text of theirs.

    Attributes:
        requests: compared.
        agreement: share of them for which both chose the candidate of the same name, or both found that the limits
            leave none; 0 if there are no requests.
        before: of the running bundle.
        after: of the new one.
    """

    requests: int
    agreement: float
    before: Figures
    after: Figures

    def demand(self, agreement: float) -> None:
        """Refuses a bundle that decides too much otherwise.

        Args:
            agreement: least share in [0, 1]; 0 demands nothing.

        Raises:
            BundleError: the bundles agree on less, or there are too few requests to tell.
        """
        if agreement <= 0.0:
            return
        if self.requests < MIN_SAMPLE:
            raise BundleError(
                f"comparison: too few requests to tell ({self.requests} of at least {MIN_SAMPLE}); send traffic "
                "first, or drop gate.require_agreement"
            )
        if self.agreement < agreement:
            raise BundleError(
                f"comparison: it agrees with the running bundle on {self.agreement:.1%} of {self.requests} recent "
                f"requests, gate.require_agreement is {agreement:.1%}; mean expected cost {self.before.mean_cost_usd:.3g}"
                f" -> {self.after.mean_cost_usd:.3g} USD, quality {self.before.mean_quality:.3f} -> "
                f"{self.after.mean_quality:.3f}, undecided {self.before.undecided} -> {self.after.undecided}, unscored "
                f"{self.before.unscored} -> {self.after.unscored}; lower the demand if the change is meant"
            )


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


def _finite(value: float) -> float | None:
    return None if value == math.inf else value


def _limit(value: float | None) -> float:
    return math.inf if value is None else value

"""Requests and comparisons as plain data, for messages between processes.

The control process passes them on and computes nothing with them, so nothing here imports numpy until a request is decided.
"""

import math
from itertools import compress
from typing import TYPE_CHECKING

import msgspec

from sidecar.config import MIN_SAMPLE
from sidecar.errors import BundleError

if TYPE_CHECKING:
    from sidecar.routing.ask import Ask
    from sidecar.routing.candidates import CandidateTable, Mask


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
    def of(cls, ask: "Ask", table: "CandidateTable") -> "Recorded":
        """Records a request.

        Args:
            ask: the request.
            table: the candidates that it was made for.
        """
        admitted = ask.admitted
        if admitted is not None and (admitted == table.offered).all():
            admitted = None
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
            admitted=None if admitted is None else tuple(compress(table.names, admitted)),
        )

    def to_ask(self, table: "CandidateTable") -> "Ask":
        """The request as it would reach a router with these candidates; envelope and clock readings are lost."""
        from sidecar.routing.ask import Ask  # noqa: PLC0415 - see the module
        from sidecar.routing.policy import Terms  # noqa: PLC0415

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

    def _mask(self, table: "CandidateTable") -> "Mask":
        if self.admitted is None:
            return table.offered
        import numpy as np  # noqa: PLC0415 - see the module

        names = frozenset(self.admitted)
        return table.offered & np.array([name in names for name in table.names], np.bool_)


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


def _finite(value: float) -> float | None:
    return None if value == math.inf else value


def _limit(value: float | None) -> float:
    return math.inf if value is None else value

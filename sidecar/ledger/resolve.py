"""What became of a decision, from all that was reported of it.

Reports are partial, late and from several sources. For each field the latest report counts among those of the highest
rank (outcome.RANKS: human over test over judge over user over gateway over any other), so that later and better ones refine
what was known. An answer is of one model: reports that name none are about the one that answered, which is
the one that the gateway named last, or else the one that was decided. Only a failure that the gateway gives no name to is
always the decided one's: it is why another was called.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from sidecar.ledger.rows import Decision, Reported

FIELDS = ("latency_ms", "ttft_ms", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "error")
GATEWAY = "gateway"
_labels: "msgspec.json.Decoder[dict[str, str]]" = msgspec.json.Decoder(dict[str, str])


class Answer(NamedTuple):
    """What is known of one model's answer.

    Attributes:
        served: whether it is the one that the caller got.
        reports: how many it is known from.
        quality: in [0, 1]; None if nobody judged it, as with all the fields that follow.
        quality_source: who did; empty if nobody.
        latency_ms: to the full answer.
        ttft_ms: to the first token.
        input_tokens: of the prompt.
        output_tokens: of the answer.
        cached_tokens: of the prompt, from the cache.
        cost_usd: of the call.
        error: kind of failure; empty if there was none.
        labels: of all reports; the one that counts more wins.
    """

    served: bool
    reports: int
    quality: float | None
    quality_source: str
    latency_ms: float | None
    ttft_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_usd: float | None
    error: str | None
    labels: dict[str, str]


def resolve(decision: Decision | None, reports: Sequence[Reported]) -> dict[str, Answer]:
    """The answers to one decision.

    Args:
        decision: None if it is not known.
        reports: about it, in any order.

    Returns:
        By name of the candidate; of a model that is none of the decision's candidates, by its own name; by the empty
        name if nothing says which one it was.
    """
    names = _names(decision)
    served = _served(decision, reports, names)
    decided = names.get(decision.served(), decision.served()) if decision else ""
    by_model: dict[str, list[Reported]] = {}
    for report in sorted(reports, key=lambda report: (report.source_rank, report.observed_at, report.seq)):
        unnamed = decided if decided and report.error and report.source == GATEWAY else served
        model = unnamed if report.model is None else names.get(report.model, report.model)
        by_model.setdefault(model, []).append(report)
    return {model: _answer(some, served=model == served) for model, some in by_model.items()}


def _answer(reports: Sequence[Reported], *, served: bool) -> Answer:
    known: dict[str, float | int | str] = {}
    quality: float | None = None
    source = ""
    labels: dict[str, str] = {}
    for report in reports:
        if report.quality is not None:
            quality, source = report.quality, report.source
        known.update({field: value for field in FIELDS if (value := getattr(report, field)) is not None})
        if report.labels:
            labels.update(_labels.decode(report.labels))
    fields = [known.get(field) for field in FIELDS]
    return Answer._make((served, len(reports), quality, source, *fields, labels))


def _served(decision: Decision | None, reports: Sequence[Reported], names: Mapping[str, str]) -> str:
    told = [report for report in reports if report.model and not report.shadow]
    # A judge may speak of an answer that was thrown away; the gateway knows which one it gave.
    told = [report for report in told if report.source == GATEWAY] or ([] if decision and decision.served() else told)
    if told:
        model = str(max(told, key=lambda report: (report.observed_at, report.seq)).model)
    else:
        model = decision.served() if decision else ""
    return names.get(model, model)


def _names(decision: Decision | None) -> dict[str, str]:
    """Candidates by the names that may be used for them."""
    if decision is None:
        return {}
    return {
        **dict(zip(decision.models, decision.candidates, strict=True)),
        **{name: name for name in decision.candidates},
    }

"""Decisions, and what adopting the router would change, as lines for a terminal. A dash is unknown."""

from sidecar.decisions.adoption import DAY_S, LEAST_SPAN_S
from sidecar.decisions.change import Adoption, Move, Side, Single, Slice
from sidecar.decisions.latest import Became, Expected, Told, Whole
from sidecar.decisions.trust import Compared
from sidecar.ledger.resolve import Answer
from sidecar.terminal import table

HEADING = (
    *("time", "id", "segment", "session", "policy", "chosen", "applied", "current", "reasons", "quality", "cost USD"),
    *("seconds", "propensity", "novelty", "was", "was USD", "was s", "error"),
)
MOST_CHARS = 40
WHY_NOT = {
    "NOT_OFFERED": "not offered",
    "REQUEST": "allow, deny or capabilities",
    "CONTEXT_WINDOW": "context window",
    "MIN_QUALITY": "min_quality",
    "MAX_COST_USD": "max_cost_usd",
    "MAX_LATENCY_MS": "max_latency_ms",
    "BUDGET": "budget used up",
    "BREAKER": "breaker or cool-down",
}


def row(told: Told) -> tuple[str, ...]:
    """One decision under HEADING."""
    chosen = told.chosen
    return (
        told.time,
        told.id,
        *(_said(text) for text in (told.segment, told.session, told.policy, chosen.candidate)),
        "yes" if told.applied else "no",
        _said(told.current_model),
        ",".join(told.reasons) or "-",
        *_figures(chosen.quality, chosen.cost_usd, chosen.seconds),
        f"{told.propensity:.2f}",
        f"{told.novelty:.2f}",
        *_became(told.outcome),
    )


def show(whole: Whole) -> list[str]:
    """All of one decision."""
    told, (name, version, digest) = whole.decision, whole.bundle
    scored = f"{_said(name)} {_said(version)} (manifest {digest[:12]})" if name else "nothing"
    applied = "applied" if told.applied else f"only recorded; {_said(told.current_model)} answered"
    lines = [
        f"{told.chosen.model}  ({', '.join(told.reasons)}; {applied})",
        f"decision   {told.id} at {told.time}",
        f"request    segment {_said(told.segment)}, session {_said(told.session)}, current model "
        f"{_said(told.current_model)}, {told.prompt_tokens} prompt tokens",
        f"policy     {_said(told.policy)}: {whole.answer_value_usd:g} USD an answer, {whole.second_value_usd:g} USD a second",
        f"drawn      with propensity {told.propensity:.3f}; novelty {told.novelty:.2f}; scored by {scored}",
        "prompt     "
        + (
            "not kept"
            if whole.prompt_chars is None
            else f"{whole.prompt_chars} characters are kept, and not shown here"
        ),
        "",
        *table(
            [
                ("candidate", "model", "could be chosen", "why not", "quality", "cost USD", "seconds", "utility USD"),
                *(_ranked(each) for each in whole.candidates),
            ]
        ),
        "",
    ]
    if not whole.outcomes:
        return [*lines, "no outcome was reported yet"]
    answers = [_answered(name, answer) for name, answer in whole.answers.items()]
    heading = (
        "answer of",
        "caller got it",
        "quality",
        "by",
        "latency s",
        "first token s",
        "cost USD",
        "error",
        "reports",
    )
    reports = [tuple(_said(str(report.get(field, ""))) for field in REPORTED) for report in whole.outcomes]
    return [*lines, *table([heading, *answers]), "", *table([REPORTED, *reports])]


REPORTED = (
    *("received", "source", "key", "model", "shadow", "quality", "latency_ms", "ttft_ms", "input_tokens"),
    *("output_tokens", "cached_tokens", "cost_usd", "error"),
)


def disagreements(found: Adoption) -> list[str]:
    """What adopting the router would change, or does change."""
    overall, against = found.overall, _said(found.against) if found.against else ""
    other, others = (against, against) if against else ("the caller's", "the callers' models")
    known = overall.decisions - overall.unknown
    lines = [
        f"{'applied' if against else 'log-only'} decisions from {found.first} to {found.last}, {_span(found.span_seconds)}: {overall.decisions}"
        f" ({_rate(found)})",
        f"the router {'chose' if against else 'would have chosen'} another model for {overall.differ} of {known} "
        f"({overall.share:.1%}); for {overall.inadmissible} of these {other} was not admissible",
    ]
    if against and overall.caller is not None and overall.router is not None:
        lines.append(_saved(against, known, overall.caller, overall.router))
    if found.unscored:
        lines.append(
            f"{found.unscored} were decided without a score (DEGRADED): there the choice is the safe candidate"
        )
    if overall.unknown:
        names = ", ".join(f"{_said(name)} ({number})" for name, number in found.unknown.items())
        lines.append(
            f"unknown to the router: no forecast of {_said(found.against)} for {overall.unknown} decisions"
            if against
            else f"unknown to the router: no forecast for {overall.unknown} decisions whose caller uses {names}"
        )
    if overall.caller is None:
        return lines
    slices = [("(all)", overall), *((_said(each.segment), each) for each in found.segments)]
    lines += ["", f"expected of {others}, and of the router's choices", ""]
    lines += table([SLICES, *(row for name, each in slices for row in _slice(name, each, against or "caller"))])
    if found.moves:
        lines += ["", f"most frequent changes; differences are router less {against or 'caller'}", ""]
        lines += table([MOVES, *map(_moved, found.moves)])
    if found.singles:
        lines += ["", "largest differences of one decision, by utility", ""]
        lines += table([SINGLES, *(_single(each) for each in found.singles)])
    return [*lines, "", *_trust(found)]


def _rate(found: Adoption) -> str:
    if found.requests_per_day is None:
        return f"too short a time for figures a day: it takes {_span(LEAST_SPAN_S)} at least"
    told = f"{found.requests_per_day:.0f} a day"
    return told if found.span_seconds >= DAY_S else f"{told}, if the rest of the day is like these hours"


def _span(seconds: float) -> str:
    for unit, size in (("d", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


SLICES = (
    *("segment", "whose", "decisions", "unknown", "differ", "share", "acceptable/1k", "USD/1k", "mean s"),
    *("utility USD/1k", "acceptable/day", "USD/day"),
)
MOVES = ("instead of", "router's", "decisions", "share", "acceptable/1k", "USD/1k", "s", "utility USD/1k")
SINGLES = (
    *("time", "id", "segment", "instead of", "router's", "could be chosen too", "quality", "cost USD", "seconds"),
    "utility USD",
)
COMPARED = ("model", "measure", "requests", "predicted", "measured", "difference", "95 % interval", "")


def _saved(against: str, known: int, caller: Side, router: Side) -> str:
    """What the seen decisions cost as expected, in all."""
    before, now = (known * side.usd_per_1k / 1000.0 for side in (caller, router))
    share = f" ({abs(before - now) / before:.0%})" if before else ""
    better = router.acceptable_per_1k - caller.acceptable_per_1k
    return (
        f"expected cost {now:.4f} USD instead of {before:.4f} USD for {against} alone: {abs(before - now):.4f} USD{share} "
        f"{'saved' if now <= before else 'more'}, at {abs(better):.1f} acceptable answers in 1,000 "
        f"{'more' if better >= 0.0 else 'fewer'}"
    )


def _slice(name: str, one: Slice, whose: str) -> list[tuple[str, ...]]:
    counts = (str(one.decisions), str(one.unknown), str(one.differ), f"{one.share:.1%}")
    if one.caller is None or one.router is None:
        return [(name, whose, *counts, *["-"] * 6)]
    caller, router = _side(one.caller), _side(one.router)
    return [(name, whose, *counts, *caller), ("", "router", *[""] * 4, *router)]


def _side(side: Side) -> tuple[str, ...]:
    return (
        f"{side.acceptable_per_1k:.1f}",
        f"{side.usd_per_1k:.4f}",
        f"{side.seconds:.2f}" if side.seconds else "-",
        f"{side.utility_usd_per_1k:.4f}",
        "-" if side.acceptable_per_day is None else f"{side.acceptable_per_day:.0f}",
        "-" if side.usd_per_day is None else f"{side.usd_per_day:.2f}",
    )


def _trust(found: Adoption) -> list[str]:
    lines = []
    whose, named = ("the choices", "was chosen") if found.against else ("the callers' models", "the caller had named")
    if found.elsewhere:
        lines = [f"{found.elsewhere} outcomes are of another model than {named}; they are not compared"]
    if not found.compared:
        return [*lines, f"nothing was measured of {whose}: without outcomes the predictions cannot be checked"]
    return [
        *lines,
        f"what was predicted of {whose}, and what was measured",
        "",
        *table([COMPARED, *(_compared(each) for each in found.compared)]),
        "",
        found.method,
    ]


def _compared(one: Compared) -> tuple[str, ...]:
    digits = 6 if one.measure == "cost_usd" else 3
    figures = [f"{value:.{digits}f}" for value in (one.predicted, one.measured)]
    if one.low is None:
        interval, verdict = "-", "too few to tell"
    else:
        interval = f"[{one.low:+.{digits}f}, {one.high:+.{digits}f}]"
        verdict = "off" if one.off else "as predicted, within chance"
    return (
        one.model or "(all)",
        one.measure,
        str(one.requests),
        *figures,
        f"{one.difference:+.{digits}f}",
        interval,
        verdict,
    )


def _moved(one: Move) -> tuple[str, ...]:
    return (
        one.current,
        one.chosen,
        str(one.decisions),
        f"{one.share:.1%}",
        f"{one.acceptable_per_1k:+.1f}",
        f"{one.usd_per_1k:+.4f}",
        f"{one.seconds:+.2f}",
        f"{one.utility_usd_per_1k:+.4f}",
    )


def _single(one: Single) -> tuple[str, ...]:
    return (
        one.time,
        one.id,
        _said(one.segment),
        one.current,
        one.chosen,
        "yes" if one.admissible else "no",
        f"{one.quality:+.3f}",
        f"{one.cost_usd:+.6f}",
        f"{one.seconds:+.2f}",
        f"{one.utility_usd:+.6f}",
    )


def _ranked(one: Expected) -> tuple[str, ...]:
    could = {True: "yes", False: "no", None: "-"}[one.admissible]
    why_not = WHY_NOT.get(one.excluded or "", "-")
    return (
        one.candidate,
        one.model,
        "last resort" if one.admissible and why_not != "-" else could,
        why_not,
        *_figures(one.quality, one.cost_usd, one.seconds),
        f"{one.utility_usd:.6f}",
    )


def _figures(quality: float, cost_usd: float, seconds: float) -> tuple[str, str, str]:
    return f"{quality:.3f}", f"{cost_usd:.6f}", f"{seconds:.2f}" if seconds else "-"


def _became(outcome: Became | None) -> tuple[str, ...]:
    if outcome is None:
        return ("-",) * 4
    quality = "-" if outcome.quality is None else f"{outcome.quality:.2f} ({_said(outcome.quality_source)})"
    return (
        quality,
        "-" if outcome.cost_usd is None else f"{outcome.cost_usd:.6f}",
        "-" if outcome.latency_ms is None else f"{outcome.latency_ms / 1000.0:.2f}",
        _error(outcome.error),
    )


def _answered(name: str, answer: Answer) -> tuple[str, ...]:
    return (
        _said(name),
        "yes" if answer.served else "no",
        "-" if answer.quality is None else f"{answer.quality:.3f}",
        _said(answer.quality_source),
        *("-" if ms is None else f"{ms / 1000.0:.2f}" for ms in (answer.latency_ms, answer.ttft_ms)),
        "-" if answer.cost_usd is None else f"{answer.cost_usd:.6f}",
        _error(answer.error),
        str(answer.reports),
    )


def _error(error: str | None) -> str:
    return "-" if error is None else _said(error) if error else "none"


def _said(text: str) -> str:
    """A caller's words: nothing in them may move the cursor, and they take no more room than others."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return (shown if len(shown) <= MOST_CHARS else f"{shown[: MOST_CHARS - 1]}\N{HORIZONTAL ELLIPSIS}") or "-"

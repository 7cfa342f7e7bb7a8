"""What does a long prompt cost?"""

from collections.abc import Callable, Sequence

from benchmarks.offered import closed_loop
from benchmarks.plan import Plan
from benchmarks.prompts import conversations, requests, salted
from benchmarks.report import Section
from benchmarks.samples import Row, summary
from benchmarks.stages import STAGES, decode, stages
from sidecar.lanes.services import ROUTE

COLUMNS = (
    "subject", "chars", "per_second", "p50_us", "p90_us", "p99_us", *(f"{stage}_p50_us" for stage in STAGES),
    "errors", "degraded_share", "cached_share",
)  # fmt: skip
SHORT, LONG = 2_000, 1_000_000
VARIETY = 2_000


def sizes(plan: Plan, target: str) -> Section:
    """One call in flight, for texts of each size and for a short and a long conversation."""
    section = Section("sizes", "Prompt sizes, 1 in flight", COLUMNS)
    for chars in sorted({*plan.sizes, SHORT, LONG}):
        section.rows.append(_measure(plan, target, "text", chars, requests))
    for chars in (SHORT, LONG):
        section.rows.append(_measure(plan, target, "conversation", chars, conversations))
    section.notes += [_grown(subject, section.rows) for subject in ("text", "conversation")]
    return section


def _grown(subject: str, rows: Sequence[Row]) -> str:
    short, long = (
        next(row for row in rows if row["subject"] == subject and row["chars"] == chars) for chars in (SHORT, LONG)
    )
    parts = {
        "scoring (tokenize + score)": ("tokenize", "score"),
        "intake": ("intake",),
        "the whole server time": ("total",),
    }
    told = [
        f"{name} {_sum(long, kinds):.0f} / {_sum(short, kinds):.0f} us = "
        f"{_sum(long, kinds) / max(1.0, _sum(short, kinds)):.2f}x"
        for name, kinds in parts.items()
    ]
    return f"{subject} of 1 MB over 2 KB: {', '.join(told)}; the target is scoring <= 2x"


def _measure(
    plan: Plan, target: str, subject: str, chars: int, make: Callable[[int, int, int], Sequence[bytes]]
) -> Row:
    client = plan.connect(target, ROUTE, 1)
    try:
        samples = closed_loop(
            client, salted(make(chars, VARIETY, plan.seed)), 1, plan.seconds, warm_up_s=plan.warm_up_s
        )
    finally:
        client.close()
    return {"subject": subject, "chars": chars, **summary(samples), **stages(decode(samples))}


def _sum(row: Row, names: Sequence[str]) -> float:
    return sum(row[f"{name}_p50_us"] or 0.0 for name in names)

"""A figure beside its target: met or missed."""

import operator
from collections.abc import Callable

from benchmarks.samples import Row

COLUMNS = ("subject", "value", "target", "verdict")
SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt
}  # fmt: skip


def at_most(bound: float) -> str:
    """The target of something that is to be small."""
    return f"<= {bound:g}"


def at_least(bound: float) -> str:
    """The target of something that is to be large."""
    return f">= {bound:g}"


def verdict(subject: str, value: float | None, target: str) -> Row:
    """A row of a table of targets.

    Args:
        subject: what was measured.
        value: the figure; None where it could not be measured.
        target: a sign and a number; empty where there is none.
    """
    return {"subject": subject, "value": value, "target": target or None, "verdict": _judged(value, target)}


def _judged(value: float | None, target: str) -> str:
    if not target or value is None:
        return "-"
    sign, bound = target.split()
    return "met" if SIGNS[sign](value, float(bound)) else "MISSED"

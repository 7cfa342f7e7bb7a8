"""`--since`: a span before now, or a date."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

import click

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")
Moment = Callable[[float], float]  # from the Unix seconds of now to those that are meant


def moment_of(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Moment | None:
    """What an option says, as click calls it."""
    if value is None:
        return None
    if found := _SPAN.fullmatch(value):
        span = float(found[1]) * UNITS[found[2]]
        return lambda now: max(0.0, now - span)
    try:
        date = datetime.fromisoformat(value)
        unix = max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither a span, as 90s, 30m, 1h, 7d or 2w, nor a date, as 2026-11-24."
        ) from None
    return lambda _now: unix

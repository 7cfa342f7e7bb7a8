"""Rate-limit headers of providers, as a gateway passes them on with an outcome.

Read are, in any case and also behind LiteLLM's prefix `llm_provider-`:

- `x-ratelimit-{remaining,reset}-{requests,tokens}` (OpenAI, Azure, Groq, Together ...), durations as `6m0s` or `20ms`,
- `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{remaining,reset}`, RFC 3339 times,
- `x-ratelimit-{remaining,reset}` and `ratelimit-{remaining,reset}`, of requests, in seconds from now or since 1970,
- `RateLimit` with `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers, old form and new),
- `retry-after-ms`, `x-ms-retry-after-ms` and `retry-after` (seconds or a date, RFC 9110 10.2.3).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from math import isnan, nan
from typing import NamedTuple

from sidecar.fleet.telemetry import Telemetry

PASSED_ON = "llm_provider-"
REQUESTS, TOKENS = "requests", "tokens"
# Longer values are not looked into.
MOST_CHARS = 1024
# A provider that asks for more means something else, or is wrong; outcomes will tell.
MOST_AHEAD_S = 86400.0
# Numbers above these are seconds and milliseconds since 1970.
SINCE_1970_S, SINCE_1970_MS = 1e9, 1e12

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_SPAN = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ITEM = re.compile(r"(?:[^,\"]|\"[^\"]*\")+")
_PARAMETER = re.compile(r"([A-Za-z]+)\s*=\s*(?:\"([^\"]*)\"|([^;,\s\"]+))")


class Quota(NamedTuple):
    """What one header, or one pair of them, says."""

    unit: str
    remaining: float
    reset_unix: float


def rate_limits(headers: Mapping[str, str], now: float) -> Telemetry:
    """What the headers of an answer say of the provider's limits.

    Args:
        headers: of the answer; whatever cannot be understood is as if it were not there.
        now: Unix seconds when the answer came.

    Returns:
        Of several limits of one unit, the least that remains; `rate_limit_reset_unix` is when the limits that are
        exhausted allow more, or if none is, when all are fresh again. `observed_unix` is nan if nothing was said.
    """
    known = {
        name.strip().lower().removeprefix(PASSED_ON): value.strip()
        for name, value in headers.items()
        if len(value) <= MOST_CHARS
    }
    quotas = [
        quota
        for quota in chain(_named(known, now), _structured(known, now))
        if not (isnan(quota.remaining) and isnan(quota.reset_unix))
    ]
    retry_after = _retry_after(known, now)
    if not quotas and isnan(retry_after):
        return Telemetry()
    exhausted = [quota.reset_unix for quota in quotas if quota.remaining == 0.0]
    return Telemetry(
        rate_limit_remaining_requests=_least(quotas, REQUESTS),
        rate_limit_remaining_tokens=_least(quotas, TOKENS),
        rate_limit_reset_unix=_latest(exhausted or [quota.reset_unix for quota in quotas]),
        retry_after_unix=retry_after,
        observed_unix=now,
    )


def _least(quotas: list[Quota], unit: str) -> float:
    return min((q.remaining for q in quotas if q.unit == unit and not isnan(q.remaining)), default=nan)


def _latest(times: list[float]) -> float:
    return max((time for time in times if not isnan(time)), default=nan)


def _named(headers: Mapping[str, str], now: float) -> Iterator[Quota]:
    def quota(unit: str, remaining: str, reset: str) -> Quota:
        return Quota(unit, _number(headers.get(remaining, "")), _instant(headers.get(reset, ""), now))

    for unit in (REQUESTS, TOKENS):
        yield quota(unit, f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}")
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        unit = TOKENS if kind.endswith(TOKENS) else REQUESTS
        yield quota(unit, f"anthropic-ratelimit-{kind}-remaining", f"anthropic-ratelimit-{kind}-reset")
    for prefix in ("x-ratelimit", "ratelimit"):
        yield quota(REQUESTS, f"{prefix}-remaining", f"{prefix}-reset")


def _structured(headers: Mapping[str, str], now: float) -> Iterator[Quota]:
    units = {name: given.get("qu", "") for name, given in _items(headers.get("ratelimit-policy", ""))}
    old: dict[str, str] = {}
    for name, given in _items(headers.get("ratelimit", "")):
        if "r" in given or "t" in given:
            unit = units.get(name, "") or (TOKENS if TOKENS[:-1] in name.lower() else REQUESTS)
            if unit in (REQUESTS, TOKENS):
                yield Quota(unit, _number(given.get("r", "")), _instant(given.get("t", ""), now))
        else:
            old |= given
    if old:  # limit=100, remaining=50, reset=30
        yield Quota(REQUESTS, _number(old.get("remaining", "")), _instant(old.get("reset", ""), now))


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for item in _ITEM.findall(text):
        name, _, _ = item.partition(";")
        given = {key.lower(): quoted or bare for key, quoted, bare in _PARAMETER.findall(item)}
        yield name.strip().strip('"'), given


def _retry_after(headers: Mapping[str, str], now: float) -> float:
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(headers.get(name, ""))
        if not isnan(milliseconds):
            return _bounded(now + milliseconds / 1000.0, now)
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if not isnan(seconds):
        return _bounded(now + seconds, now)
    at = _date(text)
    # By the provider's own clock, if it says what time that shows.
    here = _date(headers.get("date", ""))
    return _bounded(at if isnan(here) else now + at - here, now)


def _date(text: str) -> float:
    try:
        return _unix(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return nan


def _instant(text: str, now: float) -> float:
    """A time that is given as a span from now, as seconds or milliseconds since 1970, or by RFC 3339."""
    number = _number(text)
    if not isnan(number):
        if number >= SINCE_1970_MS:
            return _bounded(number / 1000.0, now)
        return _bounded(number if number >= SINCE_1970_S else now + number, now)
    spans = _SPAN.findall(text)
    if spans and "".join(map("".join, spans)) == text:
        return _bounded(now + sum(float(amount) * _UNITS[unit] for amount, unit in spans), now)
    try:
        return _bounded(_unix(datetime.fromisoformat(text)), now)
    except (ValueError, OverflowError):
        return nan


def _unix(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _bounded(time: float, now: float) -> float:
    return nan if isnan(time) else min(max(time, now), now + MOST_AHEAD_S)


def _number(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else nan

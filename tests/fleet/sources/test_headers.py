from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from math import isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.sources.headers import MOST_AHEAD_S, rate_limits
from sidecar.fleet.telemetry import Telemetry

NOW = 1_790_000_000.0
ISO = datetime.fromtimestamp(NOW + 30, UTC).isoformat().replace("+00:00", "Z")
DATE = format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)


def limits(**headers: str) -> tuple[float, float, float]:
    """Requests and tokens that remain, and seconds until the reset."""
    seen = rate_limits({name.replace("_", "-"): value for name, value in headers.items()}, NOW)
    return seen.rate_limit_remaining_requests, seen.rate_limit_remaining_tokens, seen.rate_limit_reset_unix - NOW


def approx(*values: float) -> object:
    return pytest.approx(values, nan_ok=True, abs=1e-5)


def test_those_of_openai() -> None:
    assert limits(
        x_ratelimit_limit_requests="60",
        x_ratelimit_remaining_requests="59",
        x_ratelimit_remaining_tokens="149984",
        x_ratelimit_reset_requests="1s",
        x_ratelimit_reset_tokens="6m0s",
    ) == approx(59.0, 149984.0, 360.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("1s", 1.0),
        ("20ms", 0.02),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("1d", MOST_AHEAD_S),
        ("30", 30.0),
        ("7.66", 7.66),
        (str(int(NOW) + 12), 12.0),
        (str(int(NOW + 12) * 1000), 12.0),
        (ISO, 30.0),
        ("-5s", nan),
        ("5 apples", nan),
        ("6m 0s", nan),
        ("", nan),
        ("999999d", MOST_AHEAD_S),
        ("1970-01-01T00:00:00Z", 0.0),
    ],
)
def test_a_reset_is_read_in_all_its_forms(text: str, seconds: float) -> None:
    assert limits(x_ratelimit_remaining_requests="5", x_ratelimit_reset_requests=text) == approx(5.0, nan, seconds)


def test_those_of_anthropic_of_which_the_least_counts() -> None:
    assert limits(
        anthropic_ratelimit_requests_remaining="49",
        anthropic_ratelimit_requests_reset=ISO,
        anthropic_ratelimit_input_tokens_remaining="20000",
        anthropic_ratelimit_output_tokens_remaining="8000",
        anthropic_ratelimit_tokens_remaining="28000",
    ) == approx(49.0, 8000.0, 30.0)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"RateLimit": '"default";r=50;t=30'}, (50.0, nan, 30.0)),
        ({"RateLimit": "default;r=50;t=30"}, (50.0, nan, 30.0)),
        (
            {"RateLimit": '"a,b";r=50;t=30, "tokens";r=9000;t=5', "RateLimit-Policy": '"a,b";q=100;w=60'},
            (50.0, 9000.0, 30.0),
        ),
        ({"RateLimit": '"x";r=7;t=1', "RateLimit-Policy": '"x";q=9;w=1;qu="tokens"'}, (nan, 7.0, 1.0)),
        ({"RateLimit": '"x";r=7;t=1', "RateLimit-Policy": '"x";q=9;w=1;qu="content-bytes"'}, (nan, nan, nan)),
        ({"RateLimit": "limit=100, remaining=50, reset=30"}, (50.0, nan, 30.0)),
        ({"RateLimit-Remaining": "3", "RateLimit-Reset": "10"}, (3.0, nan, 10.0)),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": str(int(NOW) + 10)}, (3.0, nan, 10.0)),
        ({"llm_provider-x-ratelimit-remaining-requests": "4"}, (4.0, nan, nan)),
        ({"X-RateLimit-Remaining-Requests": " 4 "}, (4.0, nan, nan)),
    ],
)
def test_standards_and_what_gateways_make_of_them(headers: Mapping[str, str], found: tuple[float, ...]) -> None:
    seen = rate_limits(headers, NOW)
    assert (
        seen.rate_limit_remaining_requests,
        seen.rate_limit_remaining_tokens,
        seen.rate_limit_reset_unix - NOW,
    ) == approx(*found)


def test_the_reset_that_matters_is_that_of_the_limit_that_is_exhausted() -> None:
    assert limits(
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="5s",
        x_ratelimit_remaining_tokens="100",
        x_ratelimit_reset_tokens="50s",
    ) == approx(0.0, 100.0, 5.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": DATE}, 90.0),
        ({"retry-after": DATE, "date": format_datetime(datetime.fromtimestamp(NOW + 60, UTC), usegmt=True)}, 30.0),
        ({"retry-after": "1", "retry-after-ms": "250"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "99999999"}, MOST_AHEAD_S),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, nan),
        ({"Retry-After": "-1"}, nan),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: Mapping[str, str], seconds: float) -> None:
    assert rate_limits(headers, NOW).retry_after_unix - NOW == pytest.approx(seconds, nan_ok=True)


def test_headers_that_say_nothing_are_no_observation() -> None:
    seen = rate_limits({"content-type": "text/plain", "ratelimit-policy": '"x";q=1'}, NOW)
    assert all(map(isnan, seen))


def test_what_is_said_is_observed_now() -> None:
    assert rate_limits({"retry-after": "1"}, NOW).observed_unix == NOW


NAMES = (
    "retry-after",
    "retry-after-ms",
    "date",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-remaining-tokens",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-output-tokens-remaining",
)
LIKELY = st.text(alphabet='0123456789.-+:;=,"smhdrt TZGMµ', max_size=40)
VALUES = st.one_of(LIKELY, st.text(max_size=60), st.sampled_from(["9" * 400, "1e999", "nan", "inf", '"' * 2000]))


@given(st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=30)), VALUES, max_size=12))
def test_whatever_is_sent_makes_nothing_but_sensible_numbers(headers: dict[str, str]) -> None:
    seen = rate_limits(headers, NOW)
    assert isinstance(seen, Telemetry)
    for name in ("rate_limit_reset_unix", "retry_after_unix"):
        value = getattr(seen, name)
        assert isnan(value) or NOW <= value <= NOW + MOST_AHEAD_S
    for name in ("rate_limit_remaining_requests", "rate_limit_remaining_tokens"):
        value = getattr(seen, name)
        assert isnan(value) or 0.0 <= value < 1e16

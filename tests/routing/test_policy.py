import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InvalidRequest
from sidecar.routing.policy import Policy, Terms, limits

amounts = st.floats(0, 1e6)


def test_absent_limits_become_no_limits() -> None:
    assert Policy(answer_value_usd=0.5).terms("p") == Terms(0.5, 0.0, 0.0, math.inf, math.inf)


def test_milliseconds_become_seconds() -> None:
    assert Policy(answer_value_usd=1, max_latency_ms=1500).terms("p").max_seconds == 1.5


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("field", ["answer_value_usd", "second_value_usd", "max_cost_usd"])
def test_negative_and_unreal_numbers_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=rf"^policy\.{field} is"):
        msgspec.structs.replace(Policy(answer_value_usd=1.0), **{field: value}).terms("policy")


@pytest.mark.parametrize("field", ["answer_value_usd", "second_value_usd"])
def test_a_worth_that_a_reply_could_not_hold_is_refused_by_name(field: str) -> None:
    one = Policy(answer_value_usd=1.0)
    msgspec.structs.replace(one, **{field: 1e9}).terms("policy")
    with pytest.raises(InvalidRequest, match=rf"^policy\.{field} is 1\.1e\+09: give at most 1e\+09"):
        msgspec.structs.replace(one, **{field: 1.1e9}).terms("policy")


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_quality_floor_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(InvalidRequest, match=r"^policy\.min_quality"):
        Policy(answer_value_usd=1.0, min_quality=value).terms("policy")


def test_a_latency_limit_of_zero_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"^policy\.max_latency_ms"):
        Policy(answer_value_usd=1.0, max_latency_ms=0).terms("policy")


def test_an_objective_without_quality_is_refused_unless_forced() -> None:
    policy = Policy(answer_value_usd=0.0, second_value_usd=1.0)
    with pytest.raises(InvalidRequest, match="leaves quality out"):
        policy.terms("policies.cheapest")
    assert policy.terms("policies.cheapest", quality_free=True).answer_value_usd == 0.0


@given(st.tuples(st.floats(0, 1), amounts, amounts), st.tuples(st.floats(0, 1), amounts, amounts))
def test_tightening_never_loosens_a_limit(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    both = Terms(1.0).tightened(*first).tightened(*second)
    assert both.min_quality >= max(first[0], second[0])
    assert both.max_cost_usd <= min(first[1], second[1])
    assert both.max_seconds <= min(first[2], second[2])


def test_limits_default_to_none() -> None:
    assert limits("c", None, None, None) == (0.0, math.inf, math.inf)

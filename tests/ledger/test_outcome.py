import math

import pytest

from sidecar.errors import InvalidRequest
from sidecar.ledger.outcome import AHEAD_S, Outcome, checked
from tests.ledger.made import NOW, name, said

ID = name()


def test_a_key_is_derived_from_what_is_said_and_by_whom_not_from_when_it_came() -> None:
    one = said(ID, quality=1.0, labels={"a": "1", "b": "2"})
    again = said(ID, quality=1.0, labels={"b": "2", "a": "1"}, received=NOW + 50)
    assert one.key == again.key != ""
    others = [
        said(ID, quality=0.0, labels={"a": "1", "b": "2"}),
        said(ID, "user", quality=1.0, labels={"a": "1", "b": "2"}),
        said(ID, quality=1.0),
        said(ID, quality=1.0, labels={"a": "1", "b": "2"}, observed=NOW),
    ]
    assert len({one.key, *(other.key for other in others)}) == 5


def test_a_given_key_is_kept() -> None:
    assert said(ID, key="mine", quality=1.0).key == "mine"


def test_it_was_observed_when_it_came_unless_it_says_otherwise() -> None:
    assert said(ID, quality=1.0).observed == NOW + 1
    assert said(ID, quality=1.0, observed=NOW - 86400).observed == NOW - 86400


@pytest.mark.parametrize(
    ("source", "rank"), [("human", 5), ("test", 4), ("judge", 3), ("user", 2), ("gateway", 1), ("nightly-job", 0)]
)
def test_sources_have_ranks(source: str, rank: int) -> None:
    assert said(ID, source, quality=1.0).rank == rank


def test_that_there_was_no_error_is_something_to_say() -> None:
    assert said(ID, error="").error == ""


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"decision_id": "abc"}, "decision_id"),
        ({"decision_id": ID.upper()}, "decision_id"),
        ({"decision_id": name(NOW + AHEAD_S + 60)}, "yet to come"),
        ({"source": ""}, "source"),
        ({"source": "A Person"}, "source"),
        ({"key": "k" * 129}, "key: has 129"),
        ({"key": "a\0"}, "key: holds a NUL"),
        ({"model": "\ud800"}, "model: is no valid"),
        ({"error": "e" * 257}, "error"),
        ({"shadow": True}, "model: is missing"),
        ({"quality": 1.01}, "quality"),
        ({"quality": math.nan}, "quality"),
        ({"latency_ms": -1.0}, "latency_ms"),
        ({"ttft_ms": math.inf}, "ttft_ms"),
        ({"cost_usd": math.nan}, "cost_usd"),
        ({"observed": math.inf}, "observed"),
        ({"output_tokens": -1}, "output_tokens"),
        ({"cached_tokens": 1 << 40}, "cached_tokens"),
        ({"labels": {str(number): "" for number in range(33)}}, "labels"),
        ({"labels": {"a": "x" * 1025}}, "labels"),
        ({"quality": None}, "says nothing"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    usual: dict[str, object] = {"decision_id": ID, "source": "user", "received": NOW, "quality": 1.0}
    with pytest.raises(InvalidRequest, match=named):
        checked(Outcome(**{**usual, **fields}))  # type: ignore[arg-type]

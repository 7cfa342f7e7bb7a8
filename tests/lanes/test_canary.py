import math
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.lanes.canary import Canary
from sidecar.wire import router_pb2 as pb

STABLE: Any = SimpleNamespace(name="stable")


def canary(share: float, name: str = "new") -> Canary:
    engine: Any = SimpleNamespace(name=name, digest=sha256(name.encode()).hexdigest())
    return Canary(engine, share)


def picked(chooser: Canary, **fields: Any) -> bool:
    """Whether the canary gets the request."""
    return chooser.pick(pb.RouteRequest(**fields), STABLE) is chooser.engine


sessions = st.text(min_size=1, max_size=40)


@given(sessions, st.floats(0.01, 0.99), st.text(max_size=20), st.text(max_size=20))
def test_a_session_stays_with_one_bundle_whatever_it_says(session: str, share: float, first: str, then: str) -> None:
    answers = {picked(canary(share), session_id=session, text=text, segment=text) for text in (first, then)}
    assert len(answers) == 1


@given(st.text(min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_without_a_session_a_request_that_is_sent_again_goes_the_same_way(text: str, share: float) -> None:
    metadata = {f"key {number}": "value" for number in range(40)}
    turned = dict(reversed(metadata.items()))
    assert picked(canary(share), text=text, metadata=metadata) == picked(canary(share), text=text, metadata=turned)


@given(sessions, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_larger_share_keeps_those_that_a_smaller_one_had(session: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    if picked(canary(small), session_id=session):
        assert picked(canary(large), session_id=session)


@given(st.integers(0, 10**6), st.floats(0.0, 1.0), st.booleans())
def test_the_share_is_kept(start: int, share: float, by_session: bool) -> None:  # noqa: FBT001
    chooser, amount = canary(share), 2000
    key = "session_id" if by_session else "text"
    found = sum(picked(chooser, **{key: f"{start}-{number}"}) for number in range(amount))
    # Six standard deviations: one example in a thousand million.
    assert abs(found - share * amount) <= 6 * math.sqrt(amount * share * (1 - share)) + 1


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (1.0, True)])
def test_nobody_and_everybody_are_shares_too(share: float, expected: bool) -> None:  # noqa: FBT001
    chooser = canary(share)
    assert all(picked(chooser, session_id=str(number)) is expected for number in range(200))


def test_each_canary_is_tried_on_others() -> None:
    amount = 4000
    first, second = canary(0.5, "first"), canary(0.5, "second")
    both = sum(
        picked(first, session_id=str(number)) and picked(second, session_id=str(number)) for number in range(amount)
    )
    assert abs(both - amount / 4) <= 6 * math.sqrt(amount * 3 / 16)

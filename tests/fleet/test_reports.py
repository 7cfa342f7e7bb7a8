import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.reports import MOST_STEPS, STEP_S, Reports

SPANS = st.floats(0.0, 3.0)


@given(told=st.lists(st.tuples(SPANS, SPANS, SPANS), max_size=40), asked=st.lists(st.floats(0.0, 8.0), min_size=1))
def test_a_call_was_remembered_when_an_earlier_or_equal_one_was_last_reported(
    told: list[tuple[float, float, float]], asked: list[float]
) -> None:
    reports = Reports()
    # Decided, reported so much later; what others tell is heard so much later still, so not in order.
    pairs = [(decided, decided + later) for decided, later, _ in sorted(told, key=sum)]
    for decided, at in pairs:
        reports.add(decided, at)
    found = reports.all_until(np.array(asked))
    for call, until in zip(asked, found.tolist(), strict=True):
        known = [at for decided, at in pairs if decided <= call]
        step_before = [at for decided, at in pairs if decided // STEP_S < call // STEP_S]
        assert max(step_before, default=-math.inf) <= until <= max(known, default=-math.inf)
        assert until == reports.until(call)


def test_a_gateway_that_was_restarted_proves_nothing_of_the_calls_before() -> None:
    reports = Reports()
    reports.add(1.0, 5.0)
    for second in range(10, 20):
        reports.add(float(second), second + 1.0)
    assert reports.until(4.0) == 5.0
    assert reports.until(9.9) == 5.0
    assert reports.until(10.0) == 11.0
    assert reports.until(0.9) == -math.inf


def test_calls_that_are_answered_in_order_take_no_more_room_than_is_set() -> None:
    reports = Reports()
    for number in range(3 * MOST_STEPS):
        reports.add(number * STEP_S, number * STEP_S + 1.0)
        assert len(reports._at) <= MOST_STEPS
    assert reports.until(3 * MOST_STEPS * STEP_S) == (3 * MOST_STEPS - 1) * STEP_S + 1.0
    assert reports.until(0.0) == -math.inf  # so long ago that nothing is claimed

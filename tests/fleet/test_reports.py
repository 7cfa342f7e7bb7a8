import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.reports import MOST_SPANS, Reports

# Whole numbers, so that spans touch now and then.
TIMES, LATER = st.integers(0, 60).map(float), st.integers(0, 8).map(float)


def lived_on(spans: list[tuple[float, float]], call: float) -> float:
    """From one span to those that it touches, and so on."""
    until = max((end for begin, end in spans if begin <= call <= end), default=-math.inf)
    while (further := max((end for begin, end in spans if begin <= until <= end), default=until)) > until:
        until = further
    return until


@given(told=st.lists(st.tuples(TIMES, LATER), max_size=30), asked=st.lists(TIMES, min_size=1, max_size=10))
def test_calls_were_remembered_as_long_as_reports_of_calls_follow_one_another_without_a_gap(
    told: list[tuple[float, float]], asked: list[float]
) -> None:
    reports = Reports()
    spans = [(decided, decided + later) for decided, later in told]  # in any order: other processes tell later
    for decided, at in spans:
        reports.add(decided, at)
    assert reports.all_until(np.array(asked)).tolist() == [lived_on(spans, call) for call in asked]
    assert [reports.until(call) for call in asked] == [lived_on(spans, call) for call in asked]
    assert reports.latest[1] == max((end for _, end in spans), default=0.0)
    assert reports.latest == (0.0, 0.0) or reports.latest in {(begin, reports.until(begin)) for begin, _ in spans}


def test_a_gateway_that_was_restarted_proves_nothing_of_the_calls_before() -> None:
    reports = Reports()
    for second in (*range(10), *range(20, 30)):
        reports.add(float(second), second + 1.5)
    assert reports.until(3.0) == 10.5
    assert reports.until(10.6) == -math.inf
    assert reports.until(20.0) == 30.5
    assert reports.latest == (20.0, 30.5)


def test_calls_that_come_one_by_one_take_no_more_room_than_is_set() -> None:
    reports = Reports()
    for number in range(3 * MOST_SPANS):
        reports.add(float(number), number + 0.5)
    assert len(reports._ends) == MOST_SPANS
    assert reports.until(3 * MOST_SPANS - 1.0) == 3 * MOST_SPANS - 0.5
    assert reports.until(0.0) == -math.inf  # so long ago that nothing is claimed

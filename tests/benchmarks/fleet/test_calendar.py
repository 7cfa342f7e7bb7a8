import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet.calendar import Calendar


@given(st.lists(st.floats(0, 100), max_size=30))
def test_events_happen_in_the_order_of_their_times_and_of_their_entry(times: list[float]) -> None:
    calendar, seen = Calendar(), list[tuple[float, int]]()
    for number, time in enumerate(times):
        calendar.at(time, lambda number=number: seen.append((calendar.now, number)))  # type: ignore[misc]
    calendar.run()
    assert seen == sorted((time, number) for number, time in enumerate(times))


def test_what_is_due_already_happens_now_and_time_never_goes_back() -> None:
    calendar, seen = Calendar(), list[float]()
    calendar.run(5.0)
    calendar.at(1.0, lambda: seen.append(calendar.now))
    calendar.run(4.0)
    assert (seen, calendar.now) == ([], 5.0)
    calendar.run(5.0)
    assert (seen, calendar.now) == ([5.0], 5.0)


def test_a_run_ends_at_its_time_and_leaves_what_comes_later() -> None:
    calendar, seen = Calendar(), list[float]()
    calendar.at(1.0, lambda: calendar.after(0.5, lambda: seen.append(calendar.now)))
    calendar.at(3.0, lambda: seen.append(calendar.now))
    calendar.run(2.0)
    assert (seen, calendar.now, calendar.next_time) == ([1.5], 2.0, 3.0)


@pytest.mark.parametrize("time", [math.nan, math.inf])
def test_an_event_needs_a_finite_time(time: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Calendar().at(time, lambda: None)

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from sidecar.coverage import ENOUGH, MOST_SEGMENTS, OTHERS, Coverage, CoverageWindow, Covered


def count(coverage: Coverage, segment: str, scored: int, unscored: int = 0) -> None:
    for _ in range(scored):
        coverage.scored(segment)
    for _ in range(unscored):
        coverage.unscored(segment)


def test_it_counts_by_segment() -> None:
    coverage = Coverage()
    count(coverage, "a", 3, 1)
    count(coverage, "", 0, 2)
    assert coverage.totals() == {"a": Covered(3, 1), "": Covered(0, 2)}


def test_the_share_is_of_all_and_one_where_there_were_none() -> None:
    assert Covered(3, 1).share == 0.75
    assert Covered(0, 0).share == 1.0
    assert Covered(1, 2) + Covered(3, 4) == Covered(4, 6)


def test_however_many_segments_come_its_size_is_bounded_and_nothing_is_lost() -> None:
    coverage = Coverage()
    for number in range(3 * MOST_SEGMENTS):
        count(coverage, f"s{number}", 1, 1)
    totals = coverage.totals()
    assert len(totals) == MOST_SEGMENTS + 1
    assert totals[OTHERS] == Covered(2 * MOST_SEGMENTS, 2 * MOST_SEGMENTS)
    assert sum(totals.values(), Covered(0, 0)) == Covered(3 * MOST_SEGMENTS, 3 * MOST_SEGMENTS)


def test_a_flood_of_strange_segments_cannot_hide_that_a_known_one_is_not_scored() -> None:
    coverage = Coverage()
    coverage.scored("known")
    for number in range(2 * MOST_SEGMENTS):
        coverage.unscored(f"strange {number}")
    count(coverage, "known", 0, 9)
    assert coverage.totals()["known"] == Covered(1, 9)


steps = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=8), max_size=20)


@given(steps, st.integers(1, 6))
def test_the_window_holds_what_came_in_its_seconds(seconds: list[list[tuple[str, bool]]], length: int) -> None:
    coverage = Coverage()
    window = CoverageWindow(coverage, length, 0.5)
    for at, second in enumerate(seconds):
        for segment, scored in second:
            (coverage.scored if scored else coverage.unscored)(segment)
        expected: dict[str, Covered] = {}
        for segment, scored in chain.from_iterable(seconds[max(0, at + 1 - length) : at + 1]):
            expected[segment] = expected.get(segment, Covered(0, 0)) + Covered(int(scored), int(not scored))
        assert window.tick() == expected


def test_a_segment_below_the_threshold_is_an_alarm_the_worst_first() -> None:
    coverage = Coverage()
    window = CoverageWindow(coverage, 60, 0.9)
    count(coverage, "bad", 80, 20)
    count(coverage, "worse", 10, 90)
    count(coverage, "just", 90, 10)
    count(coverage, "good", 100)
    assert window.alarms(window.tick()) == ["worse", "bad"]


def test_too_few_requests_raise_no_alarm() -> None:
    coverage = Coverage()
    window = CoverageWindow(coverage, 60, 0.9)
    count(coverage, "a", 0, ENOUGH - 1)
    assert window.alarms(window.tick()) == []
    count(coverage, "a", 0, 1)
    assert window.alarms(window.tick()) == ["a"]


def test_a_threshold_of_zero_is_never_an_alarm() -> None:
    coverage = Coverage()
    window = CoverageWindow(coverage, 60, 0.0)
    count(coverage, "a", 0, 100)
    assert window.alarms(window.tick()) == []

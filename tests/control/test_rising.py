from hypothesis import given
from hypothesis import strategies as st

from sidecar.control.rising import Rising


def test_what_begins_anew_goes_on() -> None:
    rising = Rising()
    assert [rising("a", value) for value in (3.0, 5.0, 1.0, 2.0, 4.0)] == [3.0, 5.0, 5.0, 7.0, 9.0]


def test_one_that_was_misread_once_is_not_counted_twice() -> None:
    rising = Rising()
    assert [rising("a", value) for value in (5.0, 0.0, 5.0, 6.0, 0.0, 7.0)] == [5.0, 5.0, 5.0, 6.0, 6.0, 7.0]


def test_each_key_has_its_own_count() -> None:
    rising = Rising()
    assert [rising("a", 5.0), rising("b", 1.0), rising("b", 2.0), rising("a", 6.0)] == [5.0, 1.0, 2.0, 6.0]


@given(st.lists(st.integers(0, 9)))
def test_whatever_is_read_it_never_falls(values: list[int]) -> None:
    rising = Rising()
    told = [rising("a", value) for value in values]
    assert told == sorted(told)
    assert all(shown >= value for shown, value in zip(told, values, strict=True))

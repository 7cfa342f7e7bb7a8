from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sidecar.fleet.reckoning import Call, Reckoning
from sidecar.fleet.settings import FleetConfig

NAMES = 4
SETTINGS = FleetConfig(max_open=64, expiry_factor=3.0, min_expiry_seconds=2.0, max_expiry_seconds=20.0)


def test_a_call_is_in_flight_from_its_decision_to_its_outcome() -> None:
    reckoning = Reckoning(NAMES, SETTINGS)
    reckoning.add(0, 2, 150.0, 4.0, 0.5, 100.0)
    assert reckoning.in_flight.tolist() == [0, 0, 1, 0]
    assert reckoning.tokens.tolist() == [0, 0, 150, 0]
    assert reckoning.end(0) == Call(2, 150.0, 0.5, 100.0, 4.0)
    assert not reckoning.in_flight.any()
    assert not reckoning.tokens.any()


@pytest.mark.parametrize(("expected", "kept"), [(0.0, 2.0), (0.1, 2.0), (3.0, 9.0), (100.0, 20.0)])
def test_without_an_outcome_it_counts_for_a_multiple_of_its_time_within_bounds(expected: float, kept: float) -> None:
    reckoning = Reckoning(NAMES, SETTINGS)
    reckoning.add(0, 1, 10.0, expected, 0.0, 100.0)
    assert reckoning.sweep(100.0 + kept - 0.01) == []
    assert reckoning.sweep(100.0 + kept) == [Call(1, 10.0, 0.0, 100.0, min(20.0, expected))]
    assert reckoning.in_flight[1] == 0.0
    assert reckoning.expired.tolist() == [0, 1, 0, 0]
    assert reckoning.end(0) is None


def test_a_second_outcome_and_one_of_a_decision_never_made_change_nothing() -> None:
    reckoning = Reckoning(NAMES, SETTINGS)
    for number in range(3):
        reckoning.add(number, 0, 10.0, 1.0, 0.0, 100.0)
    assert reckoning.end(1) is not None
    moves = reckoning.moves
    assert reckoning.end(1) is None
    assert reckoning.end(3) is None
    assert reckoning.end(1 + 64) is None  # the same place in the ring
    assert reckoning.in_flight[0] == 2.0
    assert reckoning.moves == moves


def test_when_the_ring_is_full_the_oldest_call_is_given_up() -> None:
    reckoning = Reckoning(NAMES, SETTINGS)
    for number in range(70):
        reckoning.add(number, number % NAMES, 1.0, 1.0, 0.0, 100.0)
    assert reckoning.in_flight.sum() == 64
    assert reckoning.expired.sum() == 6
    assert reckoning.end(5) is None
    assert reckoning.end(69) is not None


def test_where_nobody_reports_outcomes_a_call_counts_for_its_expected_time() -> None:
    reckoning = Reckoning(NAMES, SETTINGS)
    now = 100.0
    counts = []
    for number in range(3000):  # 10 a second, each of half a second
        now += 0.1
        reckoning.add(number, 0, 1.0, 0.5, 0.0, now)
        if number % 5 == 0:
            reckoning.sweep(now)
        counts.append(float(reckoning.in_flight[0]))
    assert reckoning.silent
    assert sum(counts[-500:]) / 500 == pytest.approx(5.0, rel=0.6)
    assert max(counts) >= 20.0  # as long as it was not known
    for number in range(3000, 3200):
        reckoning.add(number, 0, 1.0, 0.5, 0.0, now)
        reckoning.end(number)
    reckoning.sweep(now)
    assert not reckoning.silent


def test_a_few_lost_outcomes_among_many_do_not_change_how_long_calls_count() -> None:
    reckoning = Reckoning(NAMES, SETTINGS)
    now = 100.0
    for number in range(2000):
        now += 0.1
        reckoning.add(number, 0, 1.0, 0.5, 0.0, now)
        if number % 4 == 0:
            reckoning.end(number)
        reckoning.sweep(now)
        assert not reckoning.silent


@pytest.mark.parametrize("apart_s", [0.1, 5.0, 600.0])
def test_a_lost_call_says_something_only_where_outcomes_are_usual_however_seldom_calls_come(apart_s: float) -> None:
    reckoning = Reckoning(NAMES, SETTINGS)
    now, number = 100.0, 0

    def calls(amount: int, reported: Callable[[int], bool]) -> None:
        nonlocal now, number
        for _ in range(amount):
            now += apart_s
            reckoning.add(number, 0, 1.0, 0.5, 0.0, now)
            if reported(number):
                reckoning.end(number)
            number += 1
            reckoning.sweep(now)

    calls(30, lambda _: False)
    reckoning.sweep(now + 1000.0)
    assert reckoning.unheard
    calls(30, lambda _: True)  # somebody begins to report
    assert not reckoning.unheard
    calls(8, lambda _: False)  # and a candidate hangs
    reckoning.sweep(now + 1000.0)
    assert not reckoning.unheard
    calls(400, lambda at: at % 100 == 0)  # only feedback of users, say
    reckoning.sweep(now + 1000.0)
    assert reckoning.unheard


class Conservation(RuleBasedStateMachine):
    """Against a dictionary of open calls."""

    def __init__(self) -> None:
        super().__init__()
        self.reckoning = Reckoning(NAMES, SETTINGS)
        self.now = 100.0
        self.number = 0
        self.open: dict[int, tuple[int, float, float, float]] = {}  # number: row, tokens, decided, seconds
        self.given_up = 0

    @rule(
        row=st.integers(0, NAMES - 1),
        tokens=st.floats(0.0, 1e6, width=32),
        seconds=st.floats(0.0, 30.0),
        skip=st.integers(1, 3),
    )
    def add(self, row: int, tokens: float, seconds: float, skip: int) -> None:
        self.number += skip  # refusals have numbers too
        for number in [number for number in self.open if number % 64 == self.number % 64]:
            del self.open[number]
            self.given_up += 1
        self.reckoning.add(self.number, row, tokens, seconds, 0.0, self.now)
        self.open[self.number] = (row, tokens, self.now, seconds)

    def kept(self, seconds: float) -> float:
        if self.reckoning.silent and seconds > 0.0:
            return min(20.0, seconds)
        return min(20.0, max(2.0, 3.0 * seconds))

    @rule(back=st.integers(0, 80))
    def end(self, back: int) -> None:
        number = max(0, self.number - back)
        call = self.reckoning.end(number)
        known = self.open.pop(number, None)
        assert (call and (call.row, call.tokens)) == (known and known[:2])

    @rule(seconds=st.floats(0.0, 10.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = {n for n, (_, _, decided, seconds) in self.open.items() if decided + self.kept(seconds) <= self.now}
        assert len(self.reckoning.sweep(self.now)) == len(due)
        for number in due:
            del self.open[number]
        self.given_up += len(due)

    @invariant()
    def what_is_in_flight_is_what_began_and_did_not_end(self) -> None:
        calls, tokens = np.zeros(NAMES), np.zeros(NAMES)
        for row, amount, *_ in self.open.values():
            calls[row] += 1
            tokens[row] += amount
        assert self.reckoning.in_flight.tolist() == calls.tolist()
        assert (self.reckoning.in_flight >= 0.0).all()
        assert np.allclose(self.reckoning.tokens, tokens, rtol=1e-9, atol=1e-3)
        assert self.reckoning.expired.sum() == self.given_up


TestConservation = Conservation.TestCase

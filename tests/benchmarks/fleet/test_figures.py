import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet import figures
from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.policies import Recorded
from benchmarks.fleet.replay import at_once
from benchmarks.fleet.servers import Fault
from benchmarks.fleet.workload import Questions, Workload


def asked(count: int, gap: float) -> Workload:
    return Workload(np.arange(count, dtype=np.float64) * gap, np.arange(count) % 3, count * gap)


def test_a_run_is_summed_up_without_its_warm_up(fleet: list[Candidate], questions: Questions) -> None:
    gateway = Gateway(fleet, questions, Calendar())
    journeys = at_once(asked(30, 1.0), gateway, Recorded([[0], [1], [2]]))
    row = figures.summary(journeys, questions, gateway, 15.0)
    assert row["requests"] == 15
    assert row["quality"] == 1.0  # question n is answered by candidate n, and right
    assert row["usd_per_1k"] == pytest.approx(1e3 * np.mean([questions.cost_usd(n, n) for n in range(3)]), abs=1e-4)
    assert row["p50_s"] == pytest.approx(2.0)
    assert row["p99_s"] is None  # of 15
    assert (row["over_capacity_s"], row["queued_s"], row["failed"]) == (0.0, 0.0, 0)
    assert row["shares"] == {"sma": 0.333, "med": 0.333, "lar": 0.333}


def test_requests_without_an_answer_count_as_wrong_and_cost_nothing(
    fleet: list[Candidate], questions: Questions
) -> None:
    gateway = Gateway(fleet, questions, Calendar())
    gateway.servers[0].break_down(Fault.ERRORS)
    row = figures.summary(at_once(asked(30, 1.0), gateway, Recorded([[0], [1], [2, 1]])), questions, gateway)
    assert (row["failed"], row["quality"]) == (10, pytest.approx(2 / 3, abs=1e-4))
    assert row["usd_per_1k"] == pytest.approx(1e3 * np.mean([questions.cost_usd(n, n) for n in (1, 2)]), abs=1e-4)


def test_a_request_costs_what_the_candidate_took_that_answered_it(fleet: list[Candidate], questions: Questions) -> None:
    gateway = Gateway(fleet, questions, Calendar())
    gateway.servers[0].break_down(Fault.ERRORS)
    row = figures.summary(at_once(asked(30, 2.0), gateway, Recorded([[0, 2]] * 3)), questions, gateway)
    assert (row["fell_back"], row["failed"], row["quality"]) == (30, 0, 1.0)
    assert row["usd_per_1k"] == pytest.approx(1e3 * questions.cost_usd(0, 2), abs=1e-4)
    assert row["shares"] == {"sma": 1.0}


def test_over_capacity_is_more_than_a_seconds_work_in_the_queue(fleet: list[Candidate], questions: Questions) -> None:
    # Two slots, a second each: two requests are a second's work. Five at once: three wait for a second, one for another.
    gateway = Gateway(fleet, questions, Calendar())
    journeys = at_once(Workload(np.zeros(5), np.zeros(5, np.int64), 1.0), gateway, Recorded([[0]]))
    row = figures.summary(journeys, questions, gateway)
    assert figures.second_of_work(gateway, questions)[0] == pytest.approx(2.0)
    assert (row["over_capacity_s"], row["queued_s"]) == (1.0, 2.0)
    assert row["queued_by_candidate"] == {"sma": 2.0, "med": 0.0, "lar": 0.0}


def test_a_router_is_to_blame_for_a_queue_only_while_another_candidate_has_a_free_slot(
    fleet: list[Candidate], questions: Questions
) -> None:
    # Seven at once for two slots: more than two wait until 2 s have gone. The second candidate is full from 0.5 to 2.5 s.
    gateway = Gateway(fleet, questions, Calendar())
    times = [0.0] * 7 + [0.5] * 2
    asked = Workload(np.array(times), np.array([0] * 7 + [1] * 2), 1.0)
    at_once(asked, gateway, Recorded([[0], [1], [2]]))
    assert gateway.servers[1].free() == [(0.0, 0.5), (2.5, 4.0)]
    assert figures.unbalanced(gateway, questions, [0, 1]) == [(0.0, 0.5)]
    assert figures.unbalanced(gateway, questions, [0, 1], 0.25) == [(0.25, 0.5)]
    assert figures.unbalanced(gateway, questions, [0, 1, 2]) == [(0.0, 2.0)]
    assert figures.unbalanced(gateway, questions, [0]) == []  # its own slots are taken


def test_the_longest_stretch_counts_from_the_end_of_the_warm_up() -> None:
    assert figures.longest([(0.0, 10.0), (20.0, 24.0)], 7.0) == 4.0
    assert figures.longest([(0.0, 10.0), (20.0, 24.0)], 5.0) == 5.0
    assert figures.longest([], 0.0) == 0.0


def test_shares_over_time_are_of_the_decisions_of_each_interval() -> None:
    journeys = [
        Journey(0, 0.0, decided=time, ranking=[which]) for time, which in [(0.1, 0), (0.2, 1), (0.9, 1), (2.5, 0)]
    ]
    shares, decisions = figures.share_over_time(journeys, 1, np.array([0.0, 0.5, 1.0, 2.0, 3.0]))
    assert shares[:2].tolist() == [0.5, 1.0]
    assert np.isnan(shares[2])
    assert shares[3] == 0.0
    assert decisions.tolist() == [2, 1, 0, 1]


def test_the_difference_of_quality_is_paired() -> None:
    ours, theirs = np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    points, error = figures.quality_difference(ours, theirs)
    assert points == pytest.approx(25.0)
    assert error == pytest.approx(25.0)


def test_the_ideal_split_fills_up_the_emptiest_first() -> None:
    assert figures.ideal_split([100] * 4, [0] * 4, 100).tolist() == [25.0] * 4
    assert figures.ideal_split([10, 30], [0, 0], 100).tolist() == pytest.approx([25.0, 75.0])
    # The second is already beyond the level that the requests bring the first to.
    assert figures.ideal_split([100, 100], [0, 90], 50).tolist() == [50.0, 0.0]
    assert figures.ideal_split([100, 100], [0, 90], 110).tolist() == [100.0, 10.0]


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=8), st.integers(1, 2000))
def test_after_the_ideal_split_all_who_got_something_are_equally_full_and_nobody_is_emptier(
    servers: list[tuple[int, int]], requests: int
) -> None:
    slots, busy = (np.array(column, np.float64) for column in zip(*servers, strict=True))
    split = figures.ideal_split(slots, busy, requests)
    assert split.sum() == pytest.approx(requests)
    assert (split >= 0).all()
    full = (busy + split) / slots
    level = full[split > 0].max()
    assert full[split > 1e-9] == pytest.approx(level)
    assert (full >= level - 1e-9).all()

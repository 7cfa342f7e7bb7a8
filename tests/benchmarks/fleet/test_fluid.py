import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.fleet import fluid
from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.figures import longest
from benchmarks.fleet.gateway import Gateway
from benchmarks.fleet.policies import Recorded
from benchmarks.fleet.replay import at_once
from benchmarks.fleet.workload import Questions, Workload


def test_an_answer_takes_its_part_of_a_full_server(fleet: list[Candidate], questions: Questions) -> None:
    work = fluid.taken(fleet, questions, questions.tokens)
    assert work[0].tolist() == [0.5, 1.0, 1.5]  # 1, 2 and 3 seconds in one of two slots
    assert work[3, 2] == np.inf
    assert work[1, 1] == pytest.approx(1.0 / fleet[1].capacity_per_s(10.0, 2.0))


def test_equal_work_is_priced_by_what_each_server_gets_done() -> None:
    price = fluid.prices(np.tile([0.1, 0.2], (50, 1)))
    assert price == pytest.approx([2 / 3, 1 / 3], rel=0.02)  # as worth a request is the same wherever it goes
    # 10 and 5 a second together are 15 a second.
    assert fluid.worth(np.array([[0.1, 0.2]]), price)[0] == pytest.approx(1 / 15, rel=0.02)


def test_requests_that_nobody_answers_are_worth_nothing() -> None:
    work = np.array([[0.1, 0.2], [np.inf, np.inf], [np.inf, 0.2]])
    worth = fluid.worth(work, fluid.prices(work))
    assert np.isfinite(worth).all()
    assert (worth > 0.0).tolist() == [True, False, True]


@given(arrays.arrays(np.float64, (20, 3), elements=st.floats(0.01, 1.0)), st.integers(0, 2**32 - 1))
def test_whoever_is_chosen_the_busiest_server_needs_at_least_the_worth(work: np.ndarray, seed: int) -> None:
    price = fluid.prices(work)
    assert price.sum() == pytest.approx(1.0)
    choice = np.random.default_rng(seed).integers(0, 3, len(work))
    busy = np.bincount(choice, weights=work[np.arange(len(work)), choice], minlength=3)
    assert busy.max() >= fluid.worth(work, price).sum() - 1e-9


def test_what_is_left_over_flows_off_a_second_each_second() -> None:
    arrivals, worth = np.array([0.0, 1.0, 10.0]), np.array([4.0, 1.0, 0.5])
    assert fluid.backlog_over(arrivals, worth, 2.0) == [(0.0, 3.0)]  # 4, at 1 again 4, which is 2 at 3
    assert fluid.backlog_over(arrivals, worth, 0.0) == [(0.0, 5.0), (10.0, 10.5)]
    assert fluid.backlog_over(arrivals, worth, 4.5) == []


def test_real_servers_are_never_done_before_the_vessel_is_empty(fleet: list[Candidate], questions: Questions) -> None:
    asked = Workload(np.arange(40, dtype=np.float64) * 0.1, np.arange(40) % 3, 4.0)
    work = fluid.taken(fleet, questions, questions.tokens)
    worth = fluid.worth(work, fluid.prices(work))[asked.questions]
    empty = fluid.backlog_over(asked.arrivals, worth, 0.0)[-1][1]
    for rankings in ([[0]] * 4, [[0], [1], [2], [0]], [[1]] * 4):
        gateway = Gateway(fleet, questions, Calendar())
        journeys = at_once(asked, gateway, Recorded(rankings))
        assert max(journey.done for journey in journeys) >= empty - 1e-6
    assert longest(fluid.backlog_over(asked.arrivals, worth, 0.0)) > 4.0

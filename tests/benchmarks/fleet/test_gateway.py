import math
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.policies import LeastInFlight, Recorded, RoundRobin, good_enough
from benchmarks.fleet.replay import at_once
from benchmarks.fleet.servers import Call, End, Fault
from benchmarks.fleet.workload import Questions, Workload

Make = Callable[..., Workload]


@pytest.fixture
def gateway(fleet: list[Candidate], questions: Questions) -> Gateway:
    return Gateway(fleet, questions, Calendar())


def test_a_request_is_answered_by_the_first_of_its_ranking_at_the_recorded_length(gateway: Gateway) -> None:
    journey = Journey(0, 0.0)
    gateway.begin(journey, [1, 0])
    gateway.calendar.run()
    assert (journey.answered_by, journey.chosen, journey.done, len(journey.attempts)) == (1, 1, 2.0, 1)


def test_a_failed_candidate_is_followed_by_the_next_of_the_ranking(
    fleet: list[Candidate], questions: Questions
) -> None:
    heard = list[tuple[int, End | None]]()

    def listen(_journey: Journey, candidate: int, call: Call) -> None:
        heard.append((candidate, call.end))

    gateway = Gateway(fleet, questions, Calendar(), heard=listen)
    gateway.servers[1].break_down(Fault.ERRORS)
    journey = Journey(0, 0.0)
    gateway.begin(journey, [1, 0])
    gateway.calendar.run()
    assert (journey.chosen, journey.answered_by) == (1, 0)
    assert journey.done == pytest.approx(1.05)
    assert heard == [(1, End.SERVER), (0, End.ANSWERED)]


def test_a_request_whose_candidates_all_fail_has_an_end_but_no_answer(gateway: Gateway) -> None:
    for server in gateway.servers:
        server.break_down(Fault.ERRORS)
    journey = Journey(0, 0.0)
    gateway.begin(journey, [1, 0, 2])
    gateway.calendar.run()
    assert (journey.answered_by, len(journey.attempts)) == (-1, 3)
    assert journey.done == pytest.approx(0.15)
    assert gateway.ended == [journey]


def test_a_candidate_that_hangs_is_given_up_after_the_timeout(fleet: list[Candidate], questions: Questions) -> None:
    gateway = Gateway(fleet, questions, Calendar(), first_token_timeout_s=2.5)
    gateway.servers[0].break_down(Fault.HANG)
    journey = Journey(0, 0.0)
    gateway.begin(journey, [0, 2])
    gateway.calendar.run()
    assert (journey.answered_by, journey.done, journey.attempts[0].end) == (2, 5.5, End.TIMEOUT)


def test_a_candidate_without_a_recorded_answer_cannot_be_chosen(gateway: Gateway) -> None:
    with pytest.raises(ValueError, match="never answered"):
        gateway.begin(Journey(3, 0.0), [2])
    with pytest.raises(ValueError, match="at least one"):
        gateway.begin(Journey(3, 0.0), [])


def test_all_requests_end_and_every_call_is_at_one_server(gateway: Gateway, workload: Make) -> None:
    journeys = at_once(workload(*np.linspace(0, 5, 40).tolist()), gateway, RoundRobin([0, 1], gateway_answerable()))
    assert [journey.arrived for journey in journeys] == np.linspace(0, 5, 40).tolist()
    assert all(not math.isnan(journey.done) for journey in journeys)
    assert sum(server.counted.answered for server in gateway.servers) == 40
    assert set(map(id, gateway.ended)) == set(map(id, journeys))


def test_round_robin_takes_turns_and_leaves_out_who_cannot_answer(gateway: Gateway, questions: Questions) -> None:
    policy = RoundRobin([0, 2], questions.answerable)
    assert [policy.rank(question, gateway) for question in (0, 1, 2, 3, 0)] == [[0, 2], [2, 0], [0, 2], [0], [0, 2]]


def test_least_in_flight_goes_by_the_share_of_slots_taken(questions: Questions, fleet: list[Candidate]) -> None:
    gateway = Gateway(fleet, questions, Calendar())
    gateway.servers[0].submit(Call(0.0, 1.0, lambda _call: None))
    policy = LeastInFlight([0, 2], questions.answerable)
    assert policy.rank(0, gateway) == [2, 0]
    for _ in range(2):
        gateway.servers[2].submit(Call(0.0, 1.0, lambda _call: None))
    assert policy.rank(0, gateway) == [0, 2]
    assert policy.rank(3, gateway) == [0]


def test_a_large_server_takes_more_of_what_is_in_flight(make: Callable[..., Candidate], questions: Questions) -> None:
    gateway = Gateway([make("few", slots=2), make("many", slots=8)], questions, Calendar())
    for server in gateway.servers:
        server.submit(Call(0.0, 1.0, lambda _call: None))
    gateway.servers[1].submit(Call(0.0, 1.0, lambda _call: None))
    assert LeastInFlight([0, 1], questions.answerable).rank(0, gateway) == [1, 0]


def test_ties_of_least_in_flight_go_round(gateway: Gateway, questions: Questions) -> None:
    policy = LeastInFlight([0, 1, 2], questions.answerable)
    assert {policy.rank(0, gateway)[0] for _ in range(3)} == {0, 1, 2}


def test_the_blind_decide_alike_however_busy_a_server_is(gateway: Gateway, workload: Make) -> None:
    journeys = at_once(workload(0.0, 0.0, 0.0, 0.0, 0.0), gateway, Recorded([[0, 1]] * 4))
    assert [journey.chosen for journey in journeys] == [0] * 5
    assert [journey.done for journey in journeys] == pytest.approx([1.0, 1.0, 2.0, 2.0, 3.0])


def test_the_floor_is_so_far_below_the_best() -> None:
    assert good_enough([0.72, 0.68, 0.5, 0.63, 0.61]) == [0, 1, 3]


def gateway_answerable() -> np.ndarray:
    return np.ones((4, 3), np.bool_)

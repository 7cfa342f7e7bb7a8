import numpy as np

from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.foresight import Foresight, Prices
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.scene import Expected
from benchmarks.fleet.workload import Questions
from tests.benchmarks.fleet.conftest import Make


def same(questions: Questions) -> Expected:
    """Equal qualities, and the lengths as they will be."""
    return Expected(np.full_like(questions.quality, 0.5), questions.tokens)


def ranked(
    make: Make, questions: Questions, expected: Expected, prices: Prices, before: list[int], question: int
) -> int:
    """The first choice, after calls of question 0 to some candidates at the same moment."""
    fleet = [make("a", slots=2, slowdown=1.0), make("b", slots=2, slowdown=1.0), make("c", slots=2, slowdown=1.0)]
    gateway = Gateway(fleet, questions, Calendar())
    for candidate in before:
        gateway.begin(Journey(0, 0.0), [candidate])
    return Foresight(questions, expected, prices).rank(question, gateway)[0]


def test_who_is_done_first_answers_where_only_time_counts(make: Make, questions: Questions) -> None:
    prices = Prices(0.0, 1.0, thrift=0.0)
    assert ranked(make, questions, same(questions), prices, [], 0) == 0
    # Beside another stream a token takes two seconds: one of a's takes as long as the answer of b, which is alone.
    assert ranked(make, questions, same(questions), prices, [0, 0], 0) == 1
    lengths = Expected(same(questions).quality, np.array([[9.0, 5.0, 1.0]] * 4))
    assert ranked(make, questions, lengths, prices, [], 0) == 2


def test_a_better_answer_is_waited_for_as_long_as_it_is_worth(make: Make, questions: Questions) -> None:
    better = Expected(np.array([[0.1, 0.1, 0.9]] * 4), questions.tokens)
    assert ranked(make, questions, better, Prices(10.0, 1.0), [2, 2], 0) == 0
    assert ranked(make, questions, better, Prices(100.0, 1.0), [2, 2], 0) == 2


def test_cost_counts_unless_it_is_no_object(make: Make, questions: Questions) -> None:
    # A token of the third candidate costs $3e-6, one of the first $1e-6.
    better = Expected(np.array([[0.5, 0.1, 0.51]] * 4), questions.tokens)
    assert ranked(make, questions, better, Prices(1e-4, 0.0), [], 0) == 0
    assert ranked(make, questions, better, Prices(1e-4, 0.0, thrift=0.0), [], 0) == 2


def test_congestion_makes_waiting_dearer_than_being_served(make: Make, questions: Questions) -> None:
    # a: two streams of one token run for two seconds, then one token alone: 3 s, 2 of them waiting. c: 6 s of own answer.
    lengths = Expected(same(questions).quality, np.array([[1.0, 99.0, 4.0]] * 4))
    assert ranked(make, questions, lengths, Prices(0.0, 1.0, 1.0, thrift=0.0), [0, 0], 0) == 0
    assert ranked(make, questions, lengths, Prices(0.0, 1.0, 3.0, thrift=0.0), [0, 0], 0) == 2


def test_drag_counts_what_the_stream_beside_loses(make: Make, questions: Questions) -> None:
    # c takes 3 s alone and nobody is hurt; a takes 2 s, in which the stream beside it loses one.
    assert ranked(make, questions, same(questions), Prices(0.0, 1.0, thrift=0.0), [0, 1], 0) == 0
    assert ranked(make, questions, same(questions), Prices(0.0, 1.0, drag=9.0, thrift=0.0), [0, 1], 0) == 2


def test_who_has_no_answer_is_not_ranked(make: Make, questions: Questions) -> None:
    fleet = [make("a"), make("b"), make("c")]
    gateway = Gateway(fleet, questions, Calendar())
    found = Foresight(questions, same(questions), Prices(1.0, 1.0)).rank(3, gateway)
    assert sorted(found) == [0, 1]

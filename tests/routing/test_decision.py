import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.bundle.manifest import TrainedCandidate
from sidecar.config import CandidateConfig, Config
from sidecar.errors import NoCandidate
from sidecar.routing.candidates import join
from sidecar.routing.decision import Choice, Outcome, Reason, choose, degrade
from sidecar.routing.policy import Terms
from tests.routing.fleet import ask_for, scores_of, table_of

probabilities = st.floats(0, 1, width=32)
prices = st.floats(0, 100)


def choice_of(outcome: Outcome) -> Choice:
    assert isinstance(outcome, Choice)
    return outcome


def test_utility_is_value_times_quality_less_cost_less_waiting() -> None:
    table = table_of(CandidateConfig(name="large", first_token_seconds=0.5, seconds_per_output_token=0.01))
    expected, _ = choose(table, [ask_for(terms=Terms(0.02, 0.001))], scores_of([[0.1, 0.2, 0.75]], tokens=50))
    cost = 100 * 5e-6 + 50 * 20e-6
    assert expected.cost[0, 2] == pytest.approx(cost)
    assert expected.seconds[0, 2] == pytest.approx(1.0)
    assert expected.utility[0, 2] == pytest.approx(0.02 * 0.75 - cost - 0.001 * 1.0)


def test_the_ranking_is_by_utility_and_its_first_is_chosen() -> None:
    expected, (outcome,) = choose(table_of(), [ask_for(terms=Terms(1.0))], scores_of([[0.2, 0.9, 0.5]]))
    assert choice_of(outcome).ranking == [1, 2, 0]
    assert choice_of(outcome).reasons == (Reason.LEARNED,)
    assert np.argmax(expected.utility[0]) == 1


def test_a_worthless_answer_goes_to_the_cheapest_and_a_precious_one_to_the_best() -> None:
    asks = [ask_for(terms=Terms(1e-9)), ask_for(terms=Terms(100.0))]
    _, outcomes = choose(table_of(), asks, scores_of([[0.6, 0.7, 0.8]] * 2))
    assert [choice_of(outcome).ranking[0] for outcome in outcomes] == [0, 2]


def test_the_answers_limit_caps_cost() -> None:
    expected, _ = choose(table_of(), [ask_for(max_output_tokens=10.0)], scores_of([[0.5, 0.5, 0.5]], tokens=100))
    assert expected.cost[0, 2] == pytest.approx(100 * 5e-6 + 10 * 20e-6)


def test_a_prompt_unlike_the_training_data_is_marked_novel() -> None:
    _, (outcome,) = choose(table_of(), [ask_for()], scores_of([[0.5, 0.5, 0.5]], novelty=0.99))
    assert Reason.NOVEL in choice_of(outcome).reasons


def test_constraint_is_given_as_reason_only_where_it_changed_the_choice() -> None:
    mask = np.array([True, True, False])
    scores = scores_of([[0.2, 0.3, 0.9], [0.2, 0.9, 0.3]])
    asks = [ask_for(terms=Terms(1.0), admitted=mask)] * 2
    _, (changed, same) = choose(table_of(), asks, scores)
    assert choice_of(changed).ranking == [1, 0]
    assert Reason.CONSTRAINT in choice_of(changed).reasons
    assert Reason.CONSTRAINT not in choice_of(same).reasons


def test_a_candidate_that_is_not_offered_is_no_constraint() -> None:
    table = table_of(CandidateConfig(name="small"), CandidateConfig(name="medium"))
    _, (outcome,) = choose(table, [ask_for(terms=Terms(1.0), admitted=table.offered)], scores_of([[0.2, 0.3, 0.9]]))
    assert choice_of(outcome)._replace(admitted=None) == Choice([1, 0], (Reason.LEARNED,), 0.0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"admitted": np.zeros(3, np.bool_)}, "constraints"),
        ({"prompt_tokens": 9_000}, "prompt_tokens"),
        ({"terms": Terms(1.0, min_quality=0.95)}, "min_quality"),
        ({"terms": Terms(1.0, max_cost_usd=1e-9)}, "max_cost_usd"),
        ({"terms": Terms(1.0, max_seconds=0.1)}, "max_latency_ms"),
    ],
)
def test_a_request_that_leaves_no_candidate_is_told_which_limit_it_was(changes: dict[str, object], field: str) -> None:
    entries = [CandidateConfig(name=n, context_window=8_000, first_token_seconds=1.0) for n in ("small", "large")]
    _, (outcome,) = choose(table_of(*entries), [ask_for(limited=True, **changes)], scores_of([[0.5, 0.6, 0.7]]))
    assert isinstance(outcome, NoCandidate)
    assert str(outcome).startswith(f"{field}:")


def test_a_candidate_of_unknown_latency_passes_no_latency_limit() -> None:
    table = table_of(CandidateConfig(name="small", first_token_seconds=0.2), CandidateConfig(name="large"))
    asks = [ask_for(limited=True, admitted=table.offered, terms=Terms(1.0, max_seconds=5.0))]
    _, (outcome,) = choose(table, asks, scores_of([[0.1, 0.1, 0.9]]))
    assert choice_of(outcome).ranking == [0]


def test_the_answers_limit_counts_toward_the_context_window() -> None:
    table = table_of(CandidateConfig(name="small", context_window=150), CandidateConfig(name="large"))
    ask = ask_for(limited=True, admitted=table.offered, prompt_tokens=100)
    _, (fits, too_long) = choose(
        table, [ask._replace(max_output_tokens=50.0), ask._replace(max_output_tokens=51.0)], scores_of([[1, 0, 0]] * 2)
    )
    assert choice_of(fits).ranking == [0, 2]
    assert choice_of(too_long).ranking == [2]


def test_degraded_requests_get_the_safe_candidate_first() -> None:
    _, (outcome,) = degrade(table_of(safe="medium"), [ask_for()])
    assert choice_of(outcome).ranking == [1, 2, 0]
    assert choice_of(outcome).reasons == (Reason.DEGRADED,)


def test_a_degraded_request_that_excludes_the_safe_candidate_gets_the_next_by_prior() -> None:
    _, (outcome,) = degrade(table_of(), [ask_for(admitted=np.array([True, True, False]))])
    assert choice_of(outcome).ranking == [1, 0]


@given(
    st.lists(st.tuples(probabilities, probabilities, probabilities), min_size=1, max_size=5),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.floats(1e-6, 10),
    st.floats(0, 1),
    st.floats(0, 0.01) | st.just(math.inf),
)
def test_an_inadmissible_candidate_is_never_ranked(
    quality: list[tuple[float, float, float]], admitted: list[bool], value: float, floor: float, most: float
) -> None:
    mask = np.array(admitted)
    ask = ask_for(admitted=mask, limited=True, terms=Terms(value, 0.0, floor, most))
    expected, outcomes = choose(table_of(), [ask] * len(quality), scores_of(quality))
    for row, outcome in enumerate(outcomes):
        admissible = {
            index
            for index in range(3)
            if mask[index] and expected.quality[row, index] >= floor and expected.cost[row, index] <= most
        }
        if not isinstance(outcome, Choice):
            assert not admissible
        else:
            assert set(outcome.ranking) == admissible
            utilities = [expected.utility[row, index] for index in outcome.ranking]
            assert utilities == sorted(utilities, reverse=True)


@given(st.tuples(probabilities, probabilities, probabilities), st.floats(1e-4, 10), st.integers(0, 2), prices, prices)
def test_a_dearer_candidate_never_ranks_higher(
    quality: tuple[float, float, float], value: float, index: int, price: float, rise: float
) -> None:
    def rank(dollars: float) -> int:
        trained = [
            TrainedCandidate(
                name=str(i),
                prior_quality=0.5,
                mean_output_tokens=100.0,
                input_usd_per_mtok=dollars if i == index else 1.0,
                output_usd_per_mtok=dollars if i == index else 1.0,
            )
            for i in range(3)
        ]
        table = join(Config(), trained)
        _, (outcome,) = choose(table, [ask_for(terms=Terms(value))], scores_of([quality]))
        return choice_of(outcome).ranking.index(index)

    assert rank(price + rise) >= rank(price)


@given(st.lists(st.tuples(probabilities, probabilities, probabilities), min_size=2, max_size=8))
def test_a_decision_does_not_depend_on_its_neighbours_in_the_batch(quality: list[tuple[float, float, float]]) -> None:
    asks = [ask_for(terms=Terms(0.01 * (row + 1)), prompt_tokens=10 * row) for row in range(len(quality))]
    _, together = choose(table_of(), asks, scores_of(quality))
    alone = [choose(table_of(), [ask], scores_of([row]))[1][0] for ask, row in zip(asks, quality, strict=True)]
    assert together == alone

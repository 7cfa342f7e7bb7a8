import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import CandidateConfig
from sidecar.errors import NoCandidate, OverBudget
from sidecar.fleet.closed import Closed
from sidecar.routing.assign import Assignment, Rules
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.counts import Counts
from sidecar.routing.decision import Choice, Outcome, Reason, choose, degrade
from sidecar.routing.live import Live, at_rest
from sidecar.routing.policy import Terms
from sidecar.routing.session import Held
from tests.routing.fleet import ask_for, closed_of, scores_of, table_of

TIMED = tuple(
    CandidateConfig(name=name, first_token_seconds=0.5, seconds_per_output_token=0.01)
    for name in ("small", "medium", "large")
)
EQUAL = [[0.8, 0.8, 0.8]]


def choice_of(outcome: Outcome) -> Choice:
    assert isinstance(outcome, Choice)
    return outcome


def assignment(table: CandidateTable, rules: Rules | None = None, seed: int = 1) -> Assignment:
    return Assignment(table, rules or Rules(), random.Random(seed).random, Counts())


def live_of(table: CandidateTable, blur: float = 0.0, **parts: list[float] | list[bool]) -> Live:
    rest = at_rest(table)
    arrays = {name: np.array(value) for name, value in parts.items()}
    plain = not {"open", "share", "quota"} & set(parts)
    return rest._replace(fleet=rest.fleet._replace(**arrays, plain=plain), blur=blur)  # type: ignore[arg-type]


def cached(name: str, price: float) -> CandidateConfig:
    return CandidateConfig(name=name, cached_input_usd_per_mtok=price)


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=6),
    st.floats(1e-4, 1.0),
    st.floats(0, 1e-2),
    st.lists(st.booleans(), min_size=3, max_size=3).filter(any),
    st.floats(0, 1),
)
def test_a_fleet_at_rest_is_decided_as_without_one(
    quality: list[list[float]], value: float, second: float, admitted: list[bool], floor: float
) -> None:
    table = table_of(*TIMED)
    mask = np.array(admitted)
    asks = [ask_for(terms=Terms(value, second), admitted=None if row % 2 else mask) for row in range(len(quality))]
    asks[0] = asks[0]._replace(terms=Terms(value, second, floor), limited=True)
    scores = scores_of(quality)
    plain, without = choose(table, asks, scores)
    expected, found = assignment(table).choose(asks, scores, at_rest(table), [None] * len(asks))
    np.testing.assert_allclose(expected.utility, plain.utility)
    for one, other in zip(found, without, strict=True):
        assert type(one) is type(other)
        if isinstance(one, Choice) and isinstance(other, Choice):
            assert (one.ranking, one.reasons, one.propensity) == (other.ranking, other.reasons, 1.0)
        else:
            assert str(one) == str(other)


def test_a_queue_moves_requests_away_and_says_so() -> None:
    table = table_of(*TIMED)
    asks = [ask_for(terms=Terms(0.01, 0.001))]
    scores = scores_of([[0.5, 0.75, 0.5]])
    _, (calm,) = assignment(table).choose(asks, scores, at_rest(table), [None])
    busy = live_of(table, wait_seconds=[0.0, 10.0, 0.0])
    expected, (moved,) = assignment(table).choose(asks, scores, busy, [None])
    assert choice_of(calm).ranking[0] == 1
    assert choice_of(calm).reasons == (Reason.LEARNED,)
    assert choice_of(moved).ranking[0] == 0
    assert choice_of(moved).reasons == (Reason.LEARNED, Reason.LOAD)
    assert expected.seconds[0].tolist() == pytest.approx([1.5, 11.5, 1.5])


@pytest.mark.parametrize("limited", [False, True])
def test_a_queue_costs_as_many_seconds_as_all_who_come_after_wait_for_it_and_takes_only_its_own(limited: bool) -> None:  # noqa: FBT001 - a case
    table = table_of(*TIMED)
    terms = Terms(1.0, 0.004, max_seconds=2.0) if limited else Terms(1.0, 0.004)
    ask = ask_for(terms=terms, limited=limited, prompt_tokens=0, max_output_tokens=0.0)
    queue = live_of(table, wait_seconds=[1.0, 0.0, 0.0])  # 0.004 of a second for 0.01 of quality
    for congestion, first in ((1.0, 0), (2.0, 0), (3.0, 1)):
        live = queue._replace(congestion=congestion)
        expected, (outcome,) = assignment(table).choose([ask], scores_of([[0.8, 0.79, 0.1]]), live, [None])
        assert choice_of(outcome).ranking[0] == first
        assert expected.seconds[0].tolist() == pytest.approx([1.5, 0.5, 0.5])
        assert expected.utility[0, 0] == pytest.approx(0.8 - 0.004 * (0.5 + congestion))


def test_what_a_batch_adds_to_a_queue_costs_as_much() -> None:
    table = table_of(*TIMED)
    asks = [ask_for(terms=Terms(1.0, 0.004), prompt_tokens=0, max_output_tokens=0.0)] * 8
    live = live_of(table, step_seconds=[1.0] * 3, backlog=[0.0, 0.0, 0.0])._replace(congestion=3.0)
    expected, outcomes = assignment(table).choose(asks, scores_of([[0.8, 0.77, 0.1]] * 8), live, [None] * 8)
    # Three seconds of wait or more outweigh 0.03 of quality; after the third there are as many in both queues.
    assert [choice_of(outcome).ranking[0] for outcome in outcomes] == [0, 0, 0, 1, 0, 1, 0, 1]
    assert expected.seconds[7].tolist() == pytest.approx([5.5, 2.5, 0.5])
    assert expected.utility[7].tolist() == pytest.approx([0.8 - 0.004 * 15.5, 0.77 - 0.004 * 6.5, 0.1 - 0.004 * 0.5])


def test_whoever_does_not_pay_for_seconds_is_not_moved_by_a_queue() -> None:
    table = table_of(*TIMED)
    busy = live_of(table, wait_seconds=[0.0, 1000.0, 0.0])
    _, (outcome,) = assignment(table).choose([ask_for()], scores_of([[0.5, 0.75, 0.5]]), busy, [None])
    assert choice_of(outcome).ranking[0] == 1


def test_a_batch_spreads_over_equal_candidates_by_what_each_of_its_requests_adds() -> None:
    table = table_of(*TIMED)
    asks = [ask_for(terms=Terms(1.0, 0.01), prompt_tokens=0, max_output_tokens=0.0) for _ in range(30)]
    live = live_of(table, step_seconds=[0.1, 0.1, 0.2], backlog=[0.0] * 3)
    _, outcomes = assignment(table).choose(asks, scores_of(EQUAL * 30), live, [None] * 30)
    shares = Counter(choice_of(outcome).ranking[0] for outcome in outcomes)
    assert shares == {0: 12, 1: 12, 2: 6}


def test_a_candidate_with_free_slots_makes_nobody_wait_until_they_are_taken() -> None:
    table = table_of(*TIMED)
    asks = [ask_for(terms=Terms(1.0, 0.01), prompt_tokens=0, max_output_tokens=0.0) for _ in range(12)]
    live = live_of(table, step_seconds=[1.0] * 3, backlog=[-4.0, 0.0, 0.0])
    expected, outcomes = assignment(table).choose(asks, scores_of([[0.8, 0.79, 0.1]] * 12), live, [None] * 12)
    first = [choice_of(outcome).ranking[0] for outcome in outcomes]
    assert first == [0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1]
    assert expected.seconds[4, 0] == pytest.approx(0.5)
    assert expected.seconds[6, 0] == pytest.approx(1.5)


def test_a_candidate_on_its_way_back_gets_no_more_calls_than_its_quota() -> None:
    table = table_of(*TIMED)
    live = live_of(table, quota=[np.inf, 2.0, np.inf])
    asks = [ask_for(terms=Terms(1.0))] * 5
    _, outcomes = assignment(table).choose(asks, scores_of([[0.5, 0.9, 0.4]] * 5), live, [None] * 5)
    assert [choice_of(outcome).ranking[0] for outcome in outcomes] == [1, 1, 0, 0, 0]


def test_within_what_is_known_of_the_load_candidates_are_drawn_and_the_propensity_says_so() -> None:
    table = table_of(*TIMED)
    ask = ask_for(terms=Terms(1.0, 0.01), prompt_tokens=0, max_output_tokens=0.0)
    live = live_of(table, wait_seconds=[0.0, 0.1, 9.0], blur=0.2)
    assigned = assignment(table)
    picks: Counter[int] = Counter()
    for _ in range(400):
        _, (outcome,) = assigned.choose([ask], scores_of(EQUAL), live, [None])
        choice = choice_of(outcome)
        assert choice.propensity == pytest.approx(0.5)
        assert Reason.SPREAD in choice.reasons
        picks[choice.ranking[0]] += 1
    assert set(picks) == {0, 1}
    assert 150 < picks[0] < 250


@pytest.mark.parametrize("limited", [False, True])
def test_a_blocked_candidate_is_neither_chosen_nor_ranked(limited: bool) -> None:  # noqa: FBT001
    table = table_of(*TIMED)
    live = live_of(table, open=[False, True, False])
    ask = ask_for(terms=Terms(1.0), limited=limited)
    _, (outcome,) = assignment(table).choose([ask], scores_of([[0.5, 0.9, 0.4]]), live, [None])
    assert choice_of(outcome).ranking == [0, 2]
    assert Reason.LOAD in choice_of(outcome).reasons
    assert Reason.CONSTRAINT not in choice_of(outcome).reasons


def test_a_budget_of_one_segment_bars_only_that_segment() -> None:
    table = table_of(*TIMED)
    live = at_rest(table)._replace(barred=lambda segment: closed_of([0.0, 0.0, 9.0]) if segment == "free" else None)
    asks = [ask_for(terms=Terms(1.0), segment=segment) for segment in ("free", "paid")]
    _, outcomes = assignment(table).choose(asks, scores_of([[0.1, 0.2, 0.9]] * 2), live, [None, None])
    assert [choice_of(outcome).ranking[0] for outcome in outcomes] == [1, 2]


@pytest.mark.parametrize(("rule", "first"), [("soonest", 1), ("safe", 2)])
def test_where_all_cool_down_the_rule_says_who_answers(rule: str, first: int) -> None:
    table = table_of(*TIMED, safe="large")
    live = live_of(table, open=[True] * 3, recovery_seconds=[9.0, 2.0, 5.0])
    rules = Rules(last_resort=rule)  # type: ignore[arg-type]
    _, (outcome,) = assignment(table, rules).choose([ask_for()], scores_of([[0.9, 0.1, 0.2]]), live, [None])
    choice = choice_of(outcome)
    assert choice.ranking[0] == first
    assert Reason.LAST_RESORT in choice.reasons
    assert choice.recovery_s == live.fleet.recovery_seconds[first]


def barring(live: Live, closed: Closed) -> Live:
    return live._replace(barred=lambda _segment: closed)


def test_whoever_is_over_budget_comes_before_whoever_does_not_work_and_by_when_it_opens() -> None:
    table = table_of(*TIMED)
    live = live_of(table, open=[True, False, False], recovery_seconds=[2.0, 0.0, 0.0])
    closed = closed_of([0.0, 900.0, 60.0])
    _, (outcome,) = assignment(table).choose([ask_for()], scores_of([[0.9, 0.8, 0.1]]), barring(live, closed), [None])
    choice = choice_of(outcome)
    assert choice.ranking == [2, 1, 0]
    assert choice.reasons == (Reason.LEARNED, Reason.LAST_RESORT)
    assert choice.recovery_s == 60.0


def test_the_last_resort_is_back_when_both_its_budget_and_itself_are() -> None:
    table = table_of(*TIMED)
    live = live_of(table, open=[True] * 3, recovery_seconds=[2.0, 9.0, 9.0])
    for opens, back in ((1.0, 2.0), (60.0, 60.0)):
        barred = barring(live, closed_of([opens, 0.0, 0.0]))
        _, (outcome,) = assignment(table).choose([ask_for()], scores_of([[0.9] * 3]), barred, [None])
        assert (choice_of(outcome).ranking[0], choice_of(outcome).recovery_s) == (0, back)


@pytest.mark.parametrize("scored", [True, False])
def test_where_only_budgets_that_refuse_are_left_the_next_to_open_refuses(scored: bool) -> None:  # noqa: FBT001
    table = table_of(*TIMED)
    live = barring(at_rest(table), closed_of([900.0, 60.0, 300.0], [True] * 3))
    ask, assigned = ask_for(segment="free"), assignment(table)
    _, (outcome,) = (
        assigned.choose([ask], scores_of([[0.9] * 3]), live, [None]) if scored else assigned.degrade([ask], live)
    )
    assert isinstance(outcome, OverBudget)
    assert str(outcome).startswith(
        "budgets.of medium: is used up for segment 'free' and opens in 60 s (2027-01-15T08:01:01Z)"
    )
    assert (outcome.retry_after_ms, outcome.pushback_ms) == (60_000, -1)


@pytest.mark.parametrize("scored", [True, False])
def test_budgets_refuse_only_where_nobody_else_is_left(scored: bool) -> None:  # noqa: FBT001
    table = table_of(*TIMED)
    assigned = assignment(table)

    def chosen(live: Live, **limits: object) -> Outcome:
        asks = [ask_for(**limits)]
        if scored:
            return assigned.choose(asks, scores_of([[0.9] * 3]), live, [None])[1][0]
        return assigned.degrade(asks, live)[1][0]

    others = barring(at_rest(table), closed_of([60.0, 60.0, 0.0], [True, True, False]))
    open_ = choice_of(chosen(others))
    assert (open_.ranking, Reason.LAST_RESORT in open_.reasons) == ([2], False)
    broken = barring(
        live_of(table, open=[True] * 3, recovery_seconds=[1.0, 2.0, 3.0]),
        closed_of([60.0, 60.0, 0.0], [True, True, False]),
    )
    last = choice_of(chosen(broken))
    assert (last.ranking, Reason.LAST_RESORT in last.reasons, last.recovery_s) == ([2], True, 3.0)
    lenient = barring(at_rest(table), closed_of([60.0, 60.0, 70.0], [True, True, False]))
    assert choice_of(chosen(lenient)).ranking == [2]
    assert isinstance(chosen(others, admitted=np.array([True, True, False])), OverBudget)
    assert isinstance(chosen(others, admitted=np.zeros(3, np.bool_)), NoCandidate)


def test_in_log_only_mode_no_budget_refuses() -> None:
    table = table_of(*TIMED)
    live = barring(at_rest(table), closed_of([60.0] * 3, [True] * 3))
    ask = ask_for(log_only=True, current_model="small")
    _, (outcome,) = assignment(table).choose([ask], scores_of([[0.1, 0.2, 0.9]]), live, [None])
    assert (choice_of(outcome).ranking[0], Reason.LAST_RESORT in choice_of(outcome).reasons) == (2, True)


def test_the_safe_candidate_is_no_last_resort_where_its_budget_refuses() -> None:
    table = table_of(*TIMED, safe="large")
    live = barring(at_rest(table), closed_of([60.0, 60.0, 60.0], [False, False, True]))
    assigned = assignment(table, Rules(last_resort="safe"))
    _, (outcome,) = assigned.choose([ask_for()], scores_of([[0.2, 0.1, 0.9]]), live, [None])
    assert choice_of(outcome).ranking == [0, 1]


def test_the_last_resort_respects_the_requests_own_limits() -> None:
    table = table_of(*TIMED)
    live = live_of(table, open=[True] * 3, recovery_seconds=[9.0, 2.0, 5.0])
    ask = ask_for(admitted=np.array([True, False, True]))
    _, (outcome,) = assignment(table).choose([ask], scores_of([[0.9, 0.1, 0.2]]), live, [None])
    assert choice_of(outcome).ranking == [2, 0]


def test_the_time_limit_counts_the_queue() -> None:
    table = table_of(*TIMED)
    live = live_of(table, wait_seconds=[5.0, 0.0, 5.0])
    ask = ask_for(terms=Terms(1.0, max_seconds=2.0), limited=True)
    _, (outcome,) = assignment(table).choose([ask], scores_of([[0.9, 0.1, 0.9]]), live, [None])
    assert choice_of(outcome).ranking == [1]
    _, (none,) = assignment(table).choose([ask], scores_of([[0.9] * 3]), live_of(table, wait_seconds=[5.0] * 3), [None])
    assert isinstance(none, NoCandidate)
    assert "max_latency_ms" in str(none)


def test_unknown_is_neither_fast_nor_slow() -> None:
    fleet = at_rest(table_of(TIMED[0], CandidateConfig(name="medium"), CandidateConfig(name="large"))).fleet
    assert fleet.first_token_seconds.tolist() == [0.5, 0.5, 0.5]
    assert fleet.known.tolist() == [True, False, False]


def test_without_scores_the_safe_candidate_answers_unless_it_is_blocked() -> None:
    table = table_of(*TIMED, safe="small")
    ask = ask_for()
    calm = assignment(table).degrade([ask], at_rest(table))
    plain = degrade(table, [ask])
    assert choice_of(calm[1][0]).ranking == choice_of(plain[1][0]).ranking == [0, 2, 1]
    _, (moved,) = assignment(table).degrade([ask], live_of(table, open=[True, False, False]))
    assert choice_of(moved).ranking == [2, 1]
    everybody = live_of(table, open=[True] * 3, recovery_seconds=[3.0, 2.0, 9.0])
    _, (last,) = assignment(table).degrade([ask], everybody)
    assert choice_of(last).ranking[0] == 1
    assert choice_of(last).reasons == (Reason.DEGRADED, Reason.LAST_RESORT)


def test_a_turn_stays_where_its_cache_is_worth_more_than_the_better_model() -> None:
    table = table_of(cached("small", 0.1), cached("medium", 0.5), cached("large", 0.0))
    scores = scores_of([[0.2, 0.80, 0.78]])
    ask = ask_for(terms=Terms(0.05), prompt_tokens=10_000)
    stays = Held(2, 10_000.0, cost_usd=1.0)
    _, (alone,) = assignment(table).choose([ask], scores, at_rest(table), [None])
    expected, (held,) = assignment(table).choose([ask], scores, at_rest(table), [stays])
    assert choice_of(alone).ranking[0] == 1
    assert choice_of(held).ranking[0] == 2
    assert Reason.STICKY in choice_of(held).reasons
    assert expected.cost[0, 2] == pytest.approx(100 * 20e-6)


def test_a_turn_leaves_where_the_gain_is_worth_the_cache() -> None:
    table = table_of(cached("small", 0.1), cached("medium", 0.5), cached("large", 0.0))
    ask = ask_for(terms=Terms(2.0), prompt_tokens=10_000)
    held = Held(2, 10_000.0, cost_usd=1.0)
    _, (outcome,) = assignment(table).choose([ask], scores_of([[0.2, 0.9, 0.5]]), at_rest(table), [held])
    assert choice_of(outcome).ranking[0] == 1
    assert Reason.STICKY not in choice_of(outcome).reasons


def test_a_session_that_has_spent_its_share_on_changes_stays_whatever_the_gain() -> None:
    table = table_of(cached("small", 0.1), cached("medium", 0.5), cached("large", 0.0))
    ask = ask_for(terms=Terms(2.0), prompt_tokens=10_000)
    broke = Held(2, 10_000.0, spent_usd=0.5, cost_usd=1.0)
    _, (outcome,) = assignment(table).choose([ask], scores_of([[0.2, 0.9, 0.5]]), at_rest(table), [broke])
    assert choice_of(outcome).ranking[0] == 2
    assert Reason.STICKY in choice_of(outcome).reasons


@pytest.mark.parametrize("escape", ["failed", "blocked", "denied", "no cache"])
def test_a_session_is_free_when_its_model_failed_or_may_not_be_chosen(escape: str) -> None:
    table = table_of(cached("small", 0.1), cached("medium", 0.5), cached("large", 0.0))
    ask = ask_for(terms=Terms(0.05), prompt_tokens=10_000)
    held = Held(2, 10_000.0, spent_usd=9.0, cost_usd=1.0)
    live = at_rest(table)
    if escape == "failed":
        held = held._replace(failed=True)
    elif escape == "blocked":
        live = live_of(table, open=[False, False, True])
    elif escape == "denied":
        ask = ask._replace(admitted=np.array([True, True, False]))
    else:
        held = held._replace(cached_tokens=0.0)
    _, (outcome,) = assignment(table).choose([ask], scores_of([[0.2, 0.80, 0.78]]), live, [held])
    assert choice_of(outcome).ranking[0] == 1


@given(
    st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=3, max_size=3),
    st.sampled_from([0.0, 0.1, 5.0]),
)
def test_propensities_are_the_frequencies_with_which_candidates_are_chosen(
    quality: list[float], share: list[float], blur: float
) -> None:
    """Every outcome of chance is gone through: the probability of each must come out as recorded."""
    table = table_of(*TIMED)
    ask = ask_for(terms=Terms(1.0, 0.1))
    live = live_of(table, share=share, blur=blur)
    grid = [(cell + 0.5) / 12 for cell in range(12)]
    chances: Counter[int] = Counter()
    recorded: dict[int, float] = {}
    for coin, draw in itertools.product(grid, grid):
        draws = iter([coin, draw] if min(share) < 1.0 else [draw])
        assigned = Assignment(table, Rules(), lambda draws=draws: next(draws), Counts())  # type: ignore[misc]
        _, (outcome,) = assigned.choose([ask], scores_of([quality]), live, [None])
        choice = choice_of(outcome)
        chances[choice.ranking[0]] += 1
        recorded.setdefault(choice.ranking[0], choice.propensity)
        assert recorded[choice.ranking[0]] == pytest.approx(choice.propensity)
    for candidate, count in chances.items():
        assert recorded[candidate] == pytest.approx(count / 144)
    assert math.isclose(sum(recorded.values()), 1.0)


def test_only_turns_that_the_limit_on_changes_holds_back_are_counted() -> None:
    table = table_of(cached("small", 0.1), cached("medium", 0.5), cached("large", 0.0))
    counts = Counts()
    assigning = Assignment(table, Rules(), random.Random(0).random, counts)
    worth, rich = scores_of([[0.2, 0.80, 0.78]]), scores_of([[0.2, 0.9, 0.5]])
    cheap, dear = (ask_for(terms=Terms(value), prompt_tokens=10_000) for value in (0.05, 2.0))
    for ask, scores, spent_usd in ((cheap, worth, 0.0), (dear, rich, 0.0), (dear, rich, 0.5)):
        assigning.choose([ask], scores, at_rest(table), [Held(2, 10_000.0, spent_usd=spent_usd, cost_usd=1.0)])
    assert counts.forced_stays == 1

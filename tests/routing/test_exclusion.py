"""Why candidates could not be chosen, of decisions as the rule makes them."""

import random

import numpy as np
import pytest

from sidecar.config import CandidateConfig
from sidecar.routing import decision
from sidecar.routing.ask import Ask
from sidecar.routing.assign import Assignment, Rules
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.counts import Counts
from sidecar.routing.decision import Choice, Expectations, Outcome
from sidecar.routing.exclusion import Exclusion, Exclusions
from sidecar.routing.live import Live, at_rest
from sidecar.routing.policy import Terms
from tests.routing.fleet import ask_for, closed_of, scores_of, table_of

SCORES = scores_of([[0.5, 0.75, 0.9]])
ENTRIES = tuple(
    CandidateConfig(name=name, first_token_seconds=first, seconds_per_output_token=0.0, context_window=window)
    for name, first, window in (("small", 1.0, 500), ("medium", 2.0, 0), ("large", 3.0, 0))
)
ALL = table_of(*ENTRIES)
TWO = table_of(*ENTRIES[1:])


def told(table: CandidateTable, ask: Ask, decided: tuple[Expectations, list[Outcome]]) -> list[str]:
    expected, (choice,) = decided
    assert isinstance(choice, Choice)
    tell = Exclusions(table.offered.tolist(), table.context_window.tolist())
    return [Exclusion(each).name for each in tell(ask, choice, expected, 0)]


def assignment(table: CandidateTable) -> Assignment:
    return Assignment(table, Rules(), random.Random(1).random, Counts())


def open_at(table: CandidateTable, *open_: bool) -> Live:
    rest = at_rest(table)
    return rest._replace(
        fleet=rest.fleet._replace(open=np.array(open_), recovery_seconds=3.0 * np.array(open_), plain=False)
    )


OFFERED = TWO.offered
LIMITED = [
    (ALL, ask_for(), []),
    (TWO, ask_for(admitted=OFFERED), ["NOT_OFFERED", "NONE", "NONE"]),
    (TWO, ask_for(admitted=OFFERED & np.array([True, True, False])), ["NOT_OFFERED", "NONE", "REQUEST"]),
    (ALL, ask_for(limited=True, prompt_tokens=501), ["CONTEXT_WINDOW", "NONE", "NONE"]),
    (ALL, ask_for(limited=True, prompt_tokens=500), []),
    (ALL, ask_for(limited=True, max_output_tokens=401.0), ["CONTEXT_WINDOW", "NONE", "NONE"]),
    (ALL, ask_for(limited=True, terms=Terms(1.0, min_quality=0.8)), ["MIN_QUALITY", "MIN_QUALITY", "NONE"]),
    (ALL, ask_for(limited=True, terms=Terms(1.0, max_cost_usd=0.001)), ["NONE", "NONE", "MAX_COST_USD"]),
    (ALL, ask_for(limited=True, terms=Terms(1.0, max_seconds=2.0)), ["NONE", "NONE", "MAX_LATENCY_MS"]),
    (
        ALL,
        ask_for(limited=True, terms=Terms(1.0, min_quality=0.8), admitted=np.array([False, True, True])),
        ["REQUEST", "MIN_QUALITY", "NONE"],
    ),
]


@pytest.mark.parametrize(("table", "ask", "wanted"), LIMITED)
def test_the_limit_that_excludes_a_candidate_is_told(table: CandidateTable, ask: Ask, wanted: list[str]) -> None:
    assert told(table, ask, assignment(table).choose([ask], SCORES, at_rest(table), [None])) == wanted
    assert told(table, ask, decision.choose(table, [ask], SCORES)) == wanted


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize(
    ("table", "wanted"), [(ALL, ["NONE", "BREAKER", "NONE"]), (TWO, ["NOT_OFFERED", "BREAKER", "NONE"])]
)
def test_whoever_is_left_alone_is_told_as_such(table: CandidateTable, wanted: list[str], limited: bool) -> None:  # noqa: FBT001
    ask = ask_for(limited=limited, admitted=None if table is ALL else OFFERED)
    live = open_at(table, False, True, False)  # noqa: FBT003
    assert told(table, ask, assignment(table).choose([ask], SCORES, live, [None])) == wanted
    assert told(table, ask, assignment(table).degrade([ask], live)) == wanted


def test_a_budget_that_is_used_up_is_told_as_such_also_where_the_breaker_is_open() -> None:
    live = open_at(ALL, True, False, True)._replace(barred=lambda _: closed_of([9.0, 9.0, 0.0]))  # noqa: FBT003
    live = live._replace(fleet=live.fleet._replace(open=np.array([True, False, False])))
    for decided in (
        assignment(ALL).choose([ask_for()], SCORES, live, [None]),
        assignment(ALL).degrade([ask_for()], live),
    ):
        assert told(ALL, ask_for(), decided) == ["BUDGET", "BUDGET", "NONE"]


@pytest.mark.parametrize("refused", [False, True])
def test_of_a_last_resort_it_is_told_what_would_have_excluded_it(refused: bool) -> None:  # noqa: FBT001
    closed = closed_of([0.0, 9.0, 9.0], [False, refused, refused])
    live = open_at(ALL, True, False, False)._replace(barred=lambda _: closed)  # noqa: FBT003
    ask = ask_for(limited=True, terms=Terms(1.0, max_cost_usd=0.001))
    decided = assignment(ALL).choose([ask], SCORES, live, [None])
    assert told(ALL, ask, decided) == ["BREAKER", "BUDGET", "MAX_COST_USD"]
    expected, (choice,) = assignment(ALL).degrade([ask_for()], live)
    assert told(ALL, ask_for(), (expected, [choice])) == ["BREAKER", "BUDGET", "BUDGET"]


def test_without_scores_no_limit_on_them_is_told() -> None:
    ask = ask_for(limited=True, prompt_tokens=501, terms=Terms(1.0, min_quality=0.99))
    for decided in (assignment(ALL).degrade([ask], at_rest(ALL)), decision.degrade(ALL, [ask])):
        assert told(ALL, ask, decided) == ["CONTEXT_WINDOW", "NONE", "NONE"]


def test_of_a_batch_each_request_is_told_by_its_own_row() -> None:
    asks = [ask_for(), ask_for(limited=True, terms=Terms(1.0, min_quality=0.8))]
    scores = scores_of([[0.9, 0.9, 0.9], [0.9, 0.1, 0.9]])
    expected, choices = assignment(ALL).choose(asks, scores, at_rest(ALL), [None, None])
    tell, (_, second) = Exclusions((), ()), choices
    assert isinstance(second, Choice)
    assert list(tell(asks[1], second, expected, 1)) == [0, Exclusion.MIN_QUALITY, 0]

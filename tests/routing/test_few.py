"""Plain numbers and arrays decide alike, to the last bit and with the same draws, whatever the queues."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config import CandidateConfig
from sidecar.routing.ask import Ask
from sidecar.routing.assign import Assignment, Rules
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.counts import Counts
from sidecar.routing.decision import Expectations, Outcome
from sidecar.routing.live import Live, at_rest
from sidecar.routing.policy import Terms
from sidecar.types import Scores
from tests.routing.fleet import ask_for, table_of

NAMES = ("small", "medium", "large")


class Case:
    """Some plain requests and a fleet, drawn at random.

    Attributes:
        table: the candidates, some of them not offered.
        live: free slots, queues, or nothing known of either.
        asks: plain requests.
        scores: of them.
    """

    def __init__(self, seed: int, requests: int) -> None:
        chance = random.Random(seed)
        offered = chance.sample(NAMES, chance.randint(1, 3))
        given: dict[str, Any] = {"first_token_seconds": 0.5, "seconds_per_output_token": chance.choice([0.0, 0.01])}
        self.table: CandidateTable = table_of(*(CandidateConfig(name=name, **given) for name in offered))
        backlog = np.array([chance.choice([-np.inf, -2.0, -1.0, 0.0, 3.0]) for _ in NAMES])
        step = np.array([chance.choice([0.0, 0.25, 2.0]) for _ in NAMES])
        rest = at_rest(self.table)
        parts = {"backlog": backlog, "step_seconds": step, "wait_seconds": np.maximum(backlog, 0.0) * step}
        self.live: Live = rest._replace(
            fleet=rest.fleet._replace(crowd=chance.choice([1.0, 1.5]), **parts),
            blur=chance.choice([0.0, 0.5, 5.0]),
            congestion=chance.choice([1.0, 3.0]),
        )
        self.asks: list[Ask] = [
            ask_for(
                terms=Terms(0.01, chance.choice([0.0, 1e-4, 1e-2])),
                prompt_tokens=chance.choice([1, 100, 50_000]),
                max_output_tokens=chance.choice([np.inf, 7.0]),
            )
            for _ in range(requests)
        ]

        def drawn(*values: float) -> Any:
            return np.array([[chance.choice(values) for _ in NAMES] for _ in range(requests)], np.float32)

        novelty = np.array([chance.choice([0.1, 0.99]) for _ in range(requests)], np.float32)
        self.scores = Scores(drawn(0.3, 0.5, 0.9, 0.90001), drawn(1.5, 100.0, 3000.0), novelty, 0.0, 0.0)

    def assignment(self, *, few: bool) -> Assignment:
        made = Assignment(self.table, Rules(), random.Random(5).random, Counts())
        if not few:
            made._few.most = 0
        return made

    def part(self, rows: slice) -> tuple[Sequence[Ask], Scores, Live, list[None]]:
        quality, tokens, novelty, *_ = self.scores
        asks = self.asks[rows]
        return asks, Scores(quality[rows], tokens[rows], novelty[rows], 0.0, 0.0), self.live, [None] * len(asks)


def assert_alike(one: tuple[Expectations, list[Outcome]], other: tuple[Expectations, list[Outcome]]) -> None:
    for left, right in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(left, right)
    assert one[1] == other[1]


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_a_few_requests_are_decided_as_arrays_decide_them(seed: int, requests: int) -> None:
    case = Case(seed, requests)
    by_numbers, by_arrays = case.assignment(few=True), case.assignment(few=False)
    for _ in range(3):  # what was assigned before counts
        assert_alike(by_numbers.choose(*case.part(slice(None))), by_arrays.choose(*case.part(slice(None))))


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(4, 9))
def test_a_batch_is_decided_as_its_requests_one_after_the_other(seed: int, requests: int) -> None:
    case = Case(seed, requests)
    alone, together = case.assignment(few=True), case.assignment(few=True)
    found = [alone.choose(*case.part(slice(row, row + 1))) for row in range(requests)]
    expected = Expectations(*(np.concatenate(columns) for columns in zip(*(one for one, _ in found), strict=True)))
    outcomes = [outcome for _, (outcome,) in found]
    assert_alike((expected, outcomes), together.choose(*case.part(slice(None))))

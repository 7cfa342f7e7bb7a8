import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.columns import COLUMNS, FIRST_N, FIRST_SUM, LATENCY_AT, SERVICE_SUM
from sidecar.fleet.latency import FAINT, blend, merge, observe
from sidecar.fleet.outcome import Outcome
from tests.fleet.stage import NAN

HALF_LIFE = 60.0


class Rows:
    def __init__(self, rows: int = 2) -> None:
        self.array = np.zeros((rows, COLUMNS))
        self.cells = memoryview(self.array).cast("B").cast("d")  # type: ignore[arg-type]

    def observe(self, outcome: Outcome, now: float, wait: float = 0.0, row: int = 0) -> None:
        observe(self.cells, row, outcome, wait, now, HALF_LIFE)


def test_the_seconds_of_a_token_are_all_seconds_after_the_first_by_all_tokens_after_it() -> None:
    rows = Rows()
    rows.observe(Outcome(first_token_seconds=0.5, latency_seconds=1.5, output_tokens=101.0), 100.0)
    rows.observe(Outcome(first_token_seconds=0.3, latency_seconds=6.3, output_tokens=201.0), 100.0)
    evidence = merge(rows.array[None], 100.0, HALF_LIFE)
    assert evidence.tokens_sum[0] / evidence.tokens[0] == pytest.approx(7.0 / 300.0)
    assert evidence.first_sum[0] / evidence.first_n[0] == pytest.approx(0.4)
    assert evidence.service_sum[0] / evidence.service_n[0] == pytest.approx(3.9)
    assert not any(column[1] for column in evidence)


def test_after_a_half_life_a_measurement_counts_half() -> None:
    rows = Rows()
    rows.observe(Outcome(first_token_seconds=1.0), 100.0)
    assert merge(rows.array[None], 100.0 + HALF_LIFE, HALF_LIFE).first_n[0] == pytest.approx(0.5)
    rows.observe(Outcome(first_token_seconds=4.0), 100.0 + HALF_LIFE)
    evidence = merge(rows.array[None], 100.0 + HALF_LIFE, HALF_LIFE)
    assert evidence.first_sum[0] / evidence.first_n[0] == pytest.approx(3.0)


def test_the_wait_that_was_expected_is_taken_off() -> None:
    rows = Rows()
    rows.observe(Outcome(first_token_seconds=2.5, latency_seconds=4.0, output_tokens=11.0), 100.0, wait=2.0)
    evidence = merge(rows.array[None], 100.0, HALF_LIFE)
    assert evidence.first_sum[0] == pytest.approx(0.5)
    assert evidence.service_sum[0] == pytest.approx(2.0)
    assert evidence.tokens_sum[0] == pytest.approx(1.5)


def test_a_wait_that_was_overestimated_gives_no_time_below_zero() -> None:
    rows = Rows()
    rows.observe(Outcome(first_token_seconds=0.5, latency_seconds=1.0), 100.0, wait=2.0)
    assert rows.array[0, [FIRST_SUM, SERVICE_SUM]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(),
        Outcome(first_token_seconds=-1.0, latency_seconds=-2.0, output_tokens=10.0),
        Outcome(first_token_seconds=float("inf"), latency_seconds=float("inf"), output_tokens=10.0),
        Outcome(output_tokens=10.0),
    ],
)
def test_what_is_missing_or_nonsense_is_left_out(outcome: Outcome) -> None:
    rows = Rows()
    rows.observe(outcome, 100.0)
    assert not rows.array[0, FIRST_N : SERVICE_SUM + 1].any()


@pytest.mark.parametrize("tokens", [NAN, 0.0, 1.0])
def test_an_answer_of_one_token_says_nothing_of_further_ones(tokens: float) -> None:
    rows = Rows()
    rows.observe(Outcome(first_token_seconds=0.5, latency_seconds=1.0, output_tokens=tokens), 100.0)
    evidence = merge(rows.array[None], 100.0, HALF_LIFE)
    assert evidence.tokens_n[0] == 0.0
    assert evidence.service_n[0] == 1.0


times = st.lists(st.tuples(st.integers(0, 3), st.floats(0.0, 50.0), st.floats(0.0, 30.0)), min_size=1, max_size=30)


@given(times)
def test_several_processes_together_know_what_one_would_know_alone(events: list[tuple[int, float, float]]) -> None:
    alone, several = Rows(), [Rows() for _ in range(4)]
    now = 100.0
    for process, gap, seconds in events:
        now += gap
        for rows in (alone, several[process]):
            rows.observe(Outcome(first_token_seconds=seconds, latency_seconds=2 * seconds, output_tokens=9.0), now)
    now += 3.0
    one = merge(alone.array[None], now, HALF_LIFE)
    four = merge(np.stack([rows.array for rows in several]), now, HALF_LIFE)
    for mine, theirs in zip(one, four, strict=True):
        assert np.allclose(mine, theirs, rtol=1e-9)


def test_a_clock_of_another_process_that_is_ahead_does_not_blow_up_the_weight() -> None:
    rows = Rows()
    rows.observe(Outcome(first_token_seconds=1.0), 100.0)
    rows.array[0, LATENCY_AT] = 1e9
    assert merge(rows.array[None], 100.0, HALF_LIFE).first_n[0] == 1.0


def test_estimates_are_weighted_and_where_there_is_none_it_is_unknown() -> None:
    def column(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array(values)

    weights = column(3.0, 0.0, FAINT / 2)
    mean, weight = blend((weights, weights * 2.0), (column(1.0, 2.0, 0.0), column(6.0, 8.0, 0.0)))
    assert mean[:2].tolist() == [3.0, 4.0]
    assert np.isnan(mean[2])
    assert weight.tolist() == [4.0, 2.0, 0.0]

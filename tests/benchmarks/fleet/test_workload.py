from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet.candidates import FLEET
from benchmarks.fleet.workload import BEGIN, Questions, read_questions, read_trace, scaled, workload
from benchmarks.traces import TraceError

TRACE = np.cumsum(np.random.default_rng(3).exponential(1.0, 1000)) ** 1.1


@given(st.floats(0.5, 20.0), st.floats(2.0, 30.0))
def test_a_scaled_trace_has_the_wanted_rate_and_the_gaps_of_the_trace(rate: float, seconds: float) -> None:
    due = scaled(TRACE, rate, seconds)
    assert len(due) == round(rate * seconds)
    assert due[0] == 0.0
    assert (due < seconds).all()
    begin = int(len(TRACE) * BEGIN)
    gaps, theirs = np.diff(due), np.diff(TRACE[begin : begin + len(due)])
    if len(gaps):
        assert gaps / gaps.sum() == pytest.approx(theirs / theirs.sum())


def test_bursts_stay_bursts() -> None:
    due = scaled(np.array([0.0, 0.0, 0.0, 0.0, 4.0, 8.0, 8.0]), 2.0, 2.0)
    assert due.tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(("rate", "seconds", "message"), [(100.0, 100.0, "too many"), (0.01, 1.0, "less than one")])
def test_a_trace_that_does_not_suffice_says_so(rate: float, seconds: float, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        scaled(TRACE, rate, seconds)


def test_requests_of_one_moment_cannot_be_scaled() -> None:
    with pytest.raises(TraceError, match="one time"):
        scaled(np.zeros(10), 1.0, 2.0)


def test_every_question_comes_equally_often_and_the_seed_decides_when() -> None:
    one, same, other = (workload(TRACE, 10.0, 10.0, 25, seed) for seed in (1, 1, 2))
    assert np.bincount(one.questions).tolist() == [4] * 25
    assert one.questions.tolist() == same.questions.tolist() != other.questions.tolist()


def test_cost_is_tokens_times_price(questions: Questions) -> None:
    assert questions.cost_usd(0, 1) == pytest.approx(10 * 1e-6 + 2 * 2e-6)
    assert questions.answerable[3].tolist() == [True, True, False]


@pytest.mark.data
def test_the_records_of_the_data_set_are_those_it_states(shared_data: Path) -> None:
    read = read_questions(shared_data, [candidate.name for candidate in FLEET])
    assert len(read) == 1981
    # The means that the data set's own description prints.
    assert np.nanmean(read.quality, axis=0)[:2] == pytest.approx([0.721, 0.680], abs=0.001)
    mean_usd = np.mean([read.cost_usd(question, 0) for question in range(len(read))])
    assert mean_usd * 1e3 == pytest.approx(0.664, abs=0.01)


@pytest.mark.data
def test_a_trace_of_the_data_set_is_read(shared_data: Path) -> None:
    assert len(read_trace(shared_data, "azure2023_conv")) == 19366

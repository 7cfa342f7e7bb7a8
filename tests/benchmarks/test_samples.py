import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.client import OK, UNANSWERED
from benchmarks.samples import Samples, fell_behind, lag, microseconds, percentile, summary

INVALID = 3


def samples(
    scheduled: list[float], sent: list[float], done: list[float], status: list[int] | None = None, elapsed: float = 10.0
) -> Samples:
    return Samples(
        np.array(scheduled),
        np.array(sent),
        np.array(done),
        np.array(status or [OK] * len(done)),
        [b""] * len(done),
        elapsed,
    )


def test_percentiles_are_nearest_ranks() -> None:
    values = np.arange(1.0, 1001.0)
    assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 0.999)] == [500.0, 900.0, 990.0, 999.0]


def test_a_percentile_of_too_few_values_is_not_guessed() -> None:
    assert percentile(np.arange(999.0), 0.999) is None
    assert percentile(np.arange(99.0), 0.99) is None
    assert percentile(np.arange(100.0), 0.99) == 98.0
    assert percentile(np.array([]), 0.5) is None


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_a_value_that_was_observed_and_covers_its_share(values: list[float], share: float) -> None:
    found = percentile(np.array(values), share)
    if found is None:
        assert len(values) < 1 / (1 - share)
        return
    assert found in values
    covered = sum(value <= found for value in values)
    assert covered >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_percentiles_are_told_in_microseconds() -> None:
    row = microseconds(np.array([0.001, 0.002, 0.003]), "x_")
    assert row == {"x_p50_us": 2000.0, "x_p90_us": None, "x_p99_us": None, "x_p99.9_us": None, "x_max_us": 3000.0}


def test_latency_counts_from_the_due_time_and_service_from_the_real_send() -> None:
    late = samples([0.0, 1.0], [0.5, 1.0], [0.6, 1.1])
    assert late.latency_s == pytest.approx([0.6, 0.1])
    assert late.service_s == pytest.approx([0.1, 0.1])
    assert late.lag_s == pytest.approx([0.5, 0.0])


def test_a_quick_refusal_does_not_better_the_latency() -> None:
    mixed = samples([0.0] * 3, [0.0] * 3, [1.0, 0.001, 1.0], [OK, INVALID, OK])
    row = summary(mixed)
    assert row["p50_us"] == 1e6
    assert row["per_second"] == pytest.approx(0.2)
    assert row["errors"] == {"INVALID_ARGUMENT": 1}


def test_a_call_that_was_never_answered_counts_with_the_time_that_it_was_waited_for() -> None:
    lost = samples([0.0, 1.0], [0.0, 1.0], [0.1, 9.0], [OK, UNANSWERED])
    assert lost.latency_s == pytest.approx([0.1, 8.0])
    assert summary(lost)["errors"] == {"UNANSWERED": 1}
    assert summary(lost)["max_us"] == 8e6


def test_a_generator_that_keeps_up_is_not_blamed() -> None:
    assert fell_behind(samples([0.0, 1.0], [0.0001, 1.0002], [5.0, 6.0])) == ""


def test_a_generator_that_is_late_is_blamed_and_the_server_cleared() -> None:
    due = [i / 100 for i in range(200)]
    sent = [time + 0.05 for time in due]
    told = fell_behind(samples(due, sent, [time + 0.001 for time in sent]))
    assert "GENERATOR" in told
    assert "50000 us late" in told
    assert "p99 is 1000 us" in told


def test_the_offered_rate_is_that_of_the_schedule() -> None:
    due = [i / 50 for i in range(101)]
    assert lag(samples(due, due, due))["offered_per_second"] == 50.0
    assert lag(samples([1.0], [1.0], [1.0]))["offered_per_second"] == 0.0

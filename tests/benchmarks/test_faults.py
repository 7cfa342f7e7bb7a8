from typing import Any

import pytest

from benchmarks.killing import Kill, judged
from benchmarks.scale import compared


def failure(channel: int, began: float, ended: float) -> dict[str, Any]:
    return {"channel": channel, "began": began, "ended": ended, "status": "UNAVAILABLE"}


def test_calls_in_flight_when_a_worker_dies_are_explained_by_it() -> None:
    kills = [Kill(at=1.0, dead=1.02, connections=2), Kill(at=2.0, dead=2.02, connections=1)]
    failures = [failure(0, 0.99, 1.03), failure(0, 1.01, 1.03), failure(4, 0.9, 1.02), failure(7, 1.99, 2.01)]
    found = judged(kills, failures, in_flight=2)
    assert found == (6, 4, 0, 0)


def test_a_call_that_began_when_the_worker_was_gone_or_ended_before_is_not() -> None:
    kills = [Kill(at=1.0, dead=1.02, connections=2)]
    found = judged(kills, [failure(0, 1.03, 1.1), failure(0, 0.5, 0.99)], in_flight=2)
    assert (found.explained, found.unexplained) == (0, 2)


def test_no_more_channels_may_fail_than_the_worker_had_connections() -> None:
    kills = [Kill(at=1.0, dead=1.02, connections=1)]
    found = judged(kills, [failure(0, 0.99, 1.03), failure(0, 0.99, 1.03), failure(5, 0.99, 1.03)], in_flight=2)
    assert found.beyond == 1


@pytest.mark.parametrize(("enough_cores", "expected"), [(True, "met"), (False, "-")])
def test_two_workers_are_judged_only_where_the_load_has_a_core_of_its_own(*, enough_cores: bool, expected: str) -> None:
    rows = [
        {"subject": subject, "per_second": rate, "worker_us_per_call": each, "busiest_us_per_call": busiest}
        for subject, rate, each, busiest in (
            ("alone", 10_000.0, 80.0, 80.0),
            ("one", 9000.0, 90.0, 90.0),
            ("two", 18_000.0, 100.0, 60.0),
        )
    ]
    section = compared(rows, enough_cores=enough_cores)
    assert (section.rows[0]["value"], section.rows[0]["verdict"]) == (1.8, expected)
    assert bool(section.notes) is not enough_cores
    # 90 us of a call with one worker; of two, the busier one has 60 of the 100 us: 1.5x, whatever the throughput.
    assert (section.rows[1]["value"], section.rows[1]["verdict"]) == (1.5, "MISSED")

import math

import pytest

from sidecar.fleet.publisher import Publisher
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.writer import Writer
from tests.fleet.stage import NAN, Clock, Worker, priors_of


def stated(table: FleetTable, clock: Clock, requests: float = NAN, tokens: float = NAN, reset: float = 30.0) -> None:
    publisher = Publisher(Writer(table, 5, clock), FleetConfig(), clock, clock.unix)
    publisher.publish(
        "b",
        Telemetry(
            rate_limit_remaining_requests=requests,
            rate_limit_remaining_tokens=tokens,
            rate_limit_reset_unix=clock.unix() + reset,
        ),
    )


@pytest.mark.parametrize("what", [{"requests": 0.0}, {"tokens": 0.0}])
def test_a_limit_that_is_used_up_keeps_away_until_it_is_full_again(
    table: FleetTable, clock: Clock, what: dict[str, float]
) -> None:
    worker = Worker(table, 0, priors_of(["a", "b"]), clock)
    stated(table, clock, **what)
    fleet = worker.look()
    assert fleet.open.tolist() == [False, True]
    assert fleet.recovery_seconds[1] == pytest.approx(30.0, abs=0.05)
    assert not fleet.plain
    fleet = worker.look(30.0)
    assert not fleet.open.any()


def test_what_all_workers_decided_since_is_taken_off(table: FleetTable, clock: Clock) -> None:
    one, two = (Worker(table, number, priors_of(["a", "b"]), clock) for number in range(2))
    for _ in range(5):
        one.decide(1)  # before: the provider knows of these
    one.look()
    stated(table, clock, requests=3.0)
    for worker in (one, two):
        worker.decide(1)
        worker.decide(0)
        worker.look()
    assert not one.look().open[1]
    one.decide(1)
    assert one.look().open[1]
    assert two.look().open[1]


def test_tokens_that_were_expected_since_are_taken_off(table: FleetTable, clock: Clock) -> None:
    worker = Worker(table, 0, priors_of(["a", "b"]), clock)
    stated(table, clock, tokens=250.0)
    worker.decide(1, tokens=200.0)
    assert not worker.look().open[1]
    worker.decide(1, tokens=50.0)
    assert worker.look().open[1]


@pytest.mark.parametrize("reset", [NAN, math.inf, -1.0])
def test_a_limit_of_which_nobody_knows_when_it_ends_keeps_nobody_away(
    table: FleetTable, clock: Clock, reset: float
) -> None:
    worker = Worker(table, 0, priors_of(["a", "b"]), clock)
    stated(table, clock, requests=0.0, reset=reset)
    assert worker.look().open[1] == (reset == math.inf)

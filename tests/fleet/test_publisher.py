import math

import pytest

from sidecar.errors import ConfigError
from sidecar.fleet.columns import (
    COOL_UNTIL,
    IN_FLIGHT,
    IN_FLIGHT_THEN,
    LEFT_REQUESTS,
    LIMITS_AT,
    LOAD_AT,
    RESET_AT,
    RUNNING,
    SLOTS_SEEN,
    WAITING,
)
from sidecar.fleet.publisher import Publisher
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.writer import Writer
from tests.fleet.stage import Clock, Worker, priors_of


def publisher_of(table: FleetTable, clock: Clock) -> tuple[Publisher, Writer]:
    writer = Writer(table, 5, clock)
    return Publisher(writer, FleetConfig(), clock, clock.unix), writer


def test_what_a_server_says_is_in_the_table_with_its_age(table: FleetTable, clock: Clock) -> None:
    publisher, writer = publisher_of(table, clock)
    publisher.publish("a", Telemetry(running=3.0, waiting=2.0, observed_unix=clock.unix() - 0.25))
    row = table.rows[writer.number, writer.row("a")]
    assert row[[RUNNING, WAITING]].tolist() == [3.0, 2.0]
    assert row[LOAD_AT] == pytest.approx(clock.now - 0.25, abs=1e-6)
    assert row[LIMITS_AT] == 0.0


@pytest.mark.parametrize("ahead", [math.nan, 100.0])
def test_without_a_time_or_with_one_to_come_it_is_of_now(table: FleetTable, clock: Clock, ahead: float) -> None:
    publisher, writer = publisher_of(table, clock)
    publisher.publish("a", Telemetry(running=3.0, observed_unix=clock.unix() + ahead))
    assert writer.rows[0, LOAD_AT] == clock.now


def test_limits_and_load_have_their_own_age_and_do_not_hide_each_other(table: FleetTable, clock: Clock) -> None:
    publisher, writer = publisher_of(table, clock)
    publisher.publish("a", Telemetry(running=3.0))
    clock.now += 5.0
    publisher.publish("a", Telemetry(rate_limit_remaining_requests=7.0, rate_limit_reset_unix=clock.unix() + 30.0))
    row = writer.rows[0]
    assert row[[RUNNING, LEFT_REQUESTS]].tolist() == [3.0, 7.0]
    assert row[[LOAD_AT, LIMITS_AT]].tolist() == [clock.now - 5.0, clock.now]
    assert row[RESET_AT] == pytest.approx(clock.now + 30.0, abs=1e-5)


def test_what_is_older_than_what_is_known_is_left_out(table: FleetTable, clock: Clock) -> None:
    publisher, writer = publisher_of(table, clock)
    publisher.publish("a", Telemetry(running=3.0, observed_unix=clock.unix()))
    publisher.publish("a", Telemetry(running=9.0, observed_unix=clock.unix() - 1.0))
    assert writer.rows[0, RUNNING] == 3.0


def test_it_says_how_much_of_the_load_was_ours(table: FleetTable, clock: Clock) -> None:
    publisher, writer = publisher_of(table, clock)
    worker = Worker(table, 0, priors_of(["a", "b"]), clock)
    for _ in range(3):
        worker.decide(1)
    worker.look()
    publisher.publish("b", Telemetry(running=10.0))
    assert writer.rows[writer.row("b"), IN_FLIGHT_THEN] == 3.0
    clock.now += FleetConfig().dead_after_seconds + 1.0  # the worker has died since
    assert table.rows[0, 1, IN_FLIGHT] == 3.0
    publisher.publish("b", Telemetry(running=10.0))
    assert writer.rows[writer.row("b"), IN_FLIGHT_THEN] == 0.0


def test_while_calls_wait_it_learns_how_many_run_at_a_time(table: FleetTable, clock: Clock) -> None:
    publisher, writer = publisher_of(table, clock)

    def said(running: float, waiting: float) -> float:
        clock.now += 1.0
        publisher.publish("a", Telemetry(running=running, waiting=waiting))
        return float(writer.rows[0, SLOTS_SEEN])

    assert said(7.0, 0.0) == 0.0
    assert said(8.0, 1.0) == 8.0
    assert said(3.0, 0.0) == 8.0
    assert said(10.0, 0.0) == 10.0
    assert 7.0 < said(6.0, 2.0) < 10.0


def test_a_time_to_try_again_is_a_cool_down_within_bounds(table: FleetTable, clock: Clock) -> None:
    publisher, writer = publisher_of(table, clock)
    publisher.publish("a", Telemetry(retry_after_unix=clock.unix() + 20.0))
    assert writer.rows[0, COOL_UNTIL] == pytest.approx(clock.now + 20.0, abs=1e-5)
    publisher.publish("a", Telemetry(retry_after_unix=clock.unix() - 5.0))
    assert writer.rows[0, COOL_UNTIL] == pytest.approx(clock.now + 20.0, abs=1e-5)
    publisher.publish("a", Telemetry(retry_after_unix=clock.unix() + 1e9))
    assert writer.rows[0, COOL_UNTIL] == clock.now + 3600.0


def test_an_observation_of_nothing_changes_nothing(table: FleetTable, clock: Clock) -> None:
    publisher, writer = publisher_of(table, clock)
    publisher.publish("a", Telemetry(observed_unix=clock.unix()))
    assert not writer.rows.any()


def test_a_name_that_does_not_fit_is_refused(table: FleetTable, clock: Clock) -> None:
    with pytest.raises(ConfigError, match="model name"):
        publisher_of(table, clock)[0].publish("", Telemetry(running=1.0))

"""The arithmetic, on whatever others may say."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.budget import PREFIX
from sidecar.fleet.columns import COLUMNS, ERRORS_SEEN, IN_FLIGHT, OPEN, STARTED
from sidecar.fleet.peers.census import Census, Rate
from sidecar.fleet.peers.group import MOST_ALIKE, Group
from sidecar.fleet.peers.message import VERSION, Report, Row
from sidecar.fleet.table import FleetTable
from sidecar.fleet.writer import Writer
from tests.fleet.stage import Clock

NAMES = ["a", "b", f"{PREFIX}all"]
NOW = 1000.0
AHEAD_S = 7e8

numbers = st.integers(0, 1000).map(float)
rows = st.builds(Row, numbers, numbers, numbers, numbers)
said = st.dictionaries(st.sampled_from([*NAMES, "of another bundle"]), rows)


def report_of(member: str, now: float, rows: dict[str, Row], age: float = 0.0, at: float = NOW) -> Report:
    return Report(VERSION, member, member, now, at - age + AHEAD_S, rows)


@pytest.fixture(scope="module")
def census(tmp_path_factory: pytest.TempPathFactory) -> Census:
    table = FleetTable.create(Path(tmp_path_factory.mktemp("group")) / "fleet", 3, 16, peers=True)
    clock = Clock(NOW)
    writer = Writer(table, 0, clock)
    for name in NAMES:
        writer.row(name)
    writer.publish()
    census = Census(table, 4.0, 100)
    census.take(NOW, NOW, np.zeros((0, COLUMNS)))
    return census


@given(st.lists(said, max_size=5))
def test_the_sum_is_that_of_all_and_of_what_this_sidecar_knows(census: Census, others: list[dict[str, Row]]) -> None:
    group = Group(2.0)
    group.take([report_of(str(at), 5.0, told) for at, told in enumerate(others)], AHEAD_S, NOW)
    own = census.take(NOW, NOW, np.zeros((0, COLUMNS)))
    sums = group.sums(own, census, NOW)
    for at, name in enumerate(own.names):
        told = [told[name] for told in others if name in told]
        assert sums.in_flight[at] == sum(row.in_flight for row in told)
        assert sums.tokens_in_flight[at] == sum(row.tokens_in_flight for row in told)
        assert sums.likewise[at] == (0.0 if name.startswith(PREFIX) else len(told))  # nobody has decided anything yet


@given(st.lists(st.tuples(st.floats(0.01, 1.9), said), min_size=1, max_size=8))
def test_growth_is_what_was_decided_since_it_was_first_heard_of(steps: list[tuple[float, dict[str, Row]]]) -> None:
    group, now = Group(2.0), NOW
    expected = dict.fromkeys(NAMES, 0.0)
    before: dict[str, Row] = {}
    heard = dict.fromkeys(NAMES, 0.0)
    for passed, told in steps:
        now += passed
        group.take([report_of("1", now - 900.0, told, at=now)], AHEAD_S, now)
        for name, row in told.items():
            if name in before and name in expected:
                expected[name] += max(0.0, row.started - before[name].started)
        before = told
        for name, (started, _) in group.grown().items():
            if name in heard:
                assert started >= 0.0
                heard[name] += started
    assert heard == expected
    assert not any(started for started, _ in group.grown().values())


@given(st.permutations(range(5)))
def test_messages_that_come_late_or_again_change_nothing(order: list[int]) -> None:
    group = Group(2.0)
    latest = -1
    for number in [*order, *order]:
        told = {"a": Row(in_flight=float(number))}
        group.take([report_of("1", 10.0 + number, told)], AHEAD_S, NOW)
        latest = max(latest, number)
        assert group.peers["1"].report.rows["a"].in_flight == latest


@given(st.floats(-100.0, 100.0))
def test_how_old_a_message_is_follows_from_the_servers_clock(age: float) -> None:
    group = Group(2.0)
    group.take([report_of("1", 5.0, {}, age=age)], AHEAD_S, NOW)
    if age > 2.001:
        assert not group.peers
    elif age < 1.999:
        assert group.peers["1"].counted_at == pytest.approx(NOW - max(0.0, age), abs=1e-4)


def test_who_does_not_know_the_servers_clock_yet_is_taken_to_speak_now() -> None:
    group = Group(2.0)
    group.take([Report(VERSION, "1", "1", 5.0, 0.0, {})], AHEAD_S, NOW)
    assert group.peers["1"].counted_at == NOW


@given(st.floats(0.0, 10.0))
def test_who_is_silent_for_longer_than_configured_is_forgotten(silent: float) -> None:
    group = Group(2.0)
    group.take([report_of("1", 5.0, {})], AHEAD_S, NOW)
    assert group.forget(NOW + silent) is (silent > 2.0)
    assert bool(group.peers) is (silent <= 2.0)


def test_times_are_the_same_however_often_they_are_repeated() -> None:
    group = Group(2.0)
    for step in range(5):
        row = Row(changed_at=4.0, kind=1.0, until=9.0, cool_until=30.0)
        now = NOW + 0.2 * step
        group.take([report_of("1", 5.0 + 0.2 * step, {"a": row}, age=0.01 * step, at=now)], AHEAD_S, now)
        peer = group.peers["1"]
        assert peer.change("a") == (NOW - 1.0, OPEN, NOW + 4.0, 0.0, ERRORS_SEEN)
        assert peer.cool_until("a") == NOW + 25.0
        assert peer.open_since("a") == NOW - 1.0


def test_who_decides_more_counts_for_more_and_within_bounds(tmp_path: Path) -> None:
    table = FleetTable.create(tmp_path / "fleet", 3, 16, peers=True)
    writer = Writer(table, 0, Clock(NOW))
    writer.row("a")
    census, group = Census(table, 4.0, 100), Group(2.0)
    for step in range(20):
        now = NOW + 0.1 * step
        writer.rows[0, STARTED] += 10.0
        writer.rows[0, IN_FLIGHT] = step
        writer.publish()
        table.beat(0, now)
        own = census.take(now, now, np.zeros((0, COLUMNS)))
        reports = [
            report_of(member, 5.0 + 0.1 * step, {"a": Row(started=each * step)}, at=now)
            for member, each in (("1", 20.0), ("2", 5.0), ("3", 1000.0))
        ]
        group.take(reports, AHEAD_S, now)
    sums = group.sums(own, census, now)
    assert sums.likewise[0] == pytest.approx(2.0 + 0.5 + MOST_ALIKE, rel=0.05)
    assert sums.own_then[0] == pytest.approx(19.0)
    assert census.then(now - 0.25).in_flight[0] == pytest.approx(16.5)
    assert census.then(0.0).in_flight[0] == 0.0
    assert census.then(now + 9.0).in_flight[0] == 19.0
    table.close()


@given(st.lists(st.tuples(st.floats(0.001, 2.0), st.integers(0, 50)), max_size=20))
def test_a_rate_is_never_below_0_nor_more_than_what_was_decided(steps: list[tuple[float, int]]) -> None:
    rate, total, at = Rate(), 100.0, 0.0
    rate.take(total, at)
    for passed, more in steps:
        total, at = total + more, at + passed
        rate.take(total, at)
        assert 0.0 <= rate.recent <= total - 100.0

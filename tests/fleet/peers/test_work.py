from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.fleet.budget import DAY_S, Budgets, BudgetView
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.settings import BreakerConfig, BudgetConfig, FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.view import FleetView
from sidecar.fleet.writer import Writer
from tests.fleet.peers.group import SETTINGS, Board, Sidecar, talk
from tests.fleet.stage import UNIX, Clock, priors_of

Make = Callable[..., Sidecar]
FAILED = Outcome(Fault.SERVER, latency_seconds=0.1)
WELL = Outcome(latency_seconds=0.1)


def decide(sidecar: Sidecar, candidate: int, calls: int, worker: int = 0) -> list[str]:
    ids = [sidecar.workers[worker].decide(candidate, seconds=60.0) for _ in range(calls)]
    sidecar.workers[worker].live.publish(sidecar.clock.now)
    return ids


def in_flight(sidecar: Sidecar) -> list[float]:
    calls: list[float] = sidecar.read().in_flight.tolist()
    return calls


# --- calls in flight -------------------------------------------------------------------------------------------------


def test_calls_of_all_sidecars_are_counted_everywhere_and_none_twice(sidecar_of: Make) -> None:
    sidecars = [sidecar_of(workers=2) for _ in range(3)]
    for at, sidecar in enumerate(sidecars):
        decide(sidecar, 0, 1 + at, worker=0)
        decide(sidecar, 0, 1, worker=1)
        decide(sidecar, 1, 10 * at, worker=1)
    talk(sidecars, rounds=5)
    for sidecar in sidecars:
        assert in_flight(sidecar) == [9.0, 30.0]
        assert sidecar.peers.tally.peers == 2


def test_calls_that_ended_elsewhere_are_gone_here_too(sidecar_of: Make) -> None:
    one, two = sidecar_of(), sidecar_of()
    ids = decide(one, 0, 3)
    talk([one, two])
    assert in_flight(two) == [3.0, 0.0]
    for name in ids[:2]:
        one.workers[0].hear(name, WELL)
    one.read()
    talk([one, two])
    assert in_flight(two) == [1.0, 0.0]


def test_what_this_sidecar_does_is_known_at_once_whatever_was_heard_of_others(sidecar_of: Make) -> None:
    one, two = sidecar_of(), sidecar_of()
    decide(two, 1, 2)
    talk([one, two])
    decide(one, 1, 3)
    assert in_flight(one) == [0.0, 5.0]


def test_telemetry_of_a_server_has_the_calls_of_peers_in_it_and_they_count_once(sidecar_of: Make, clock: Clock) -> None:
    one, two = sidecar_of(), sidecar_of()
    decide(one, 0, 2)
    decide(two, 0, 3)
    talk([one, two])
    one.read()
    one.workers[0].live.report("a", Telemetry(running=6.0, waiting=0.0))  # one is a stranger's
    clock.now += 0.06
    assert in_flight(one)[0] == pytest.approx(6.0, abs=0.05)


def test_who_was_silent_for_too_long_is_forgotten_and_comes_back_without_being_counted_again(
    sidecar_of: Make, clock: Clock
) -> None:
    one, two = sidecar_of(), sidecar_of()
    decide(two, 0, 3)
    talk([one, two])
    started = one.peers._writer.rows[:, 2].sum()
    clock.now += 1.9
    one.talk()
    assert in_flight(one) == [3.0, 0.0]
    clock.now += 0.2
    one.talk()
    assert in_flight(one) == [0.0, 0.0]
    assert one.peers.tally.peers == 0
    assert one.read().crowd == 1.0
    talk([two, one])
    assert in_flight(one) == [3.0, 0.0]
    assert one.peers._writer.rows[:, 2].sum() == started


def test_while_the_server_is_away_all_others_vanish_in_time_and_are_back_with_it(
    sidecar_of: Make, clock: Clock, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = sidecar_of(), sidecar_of()
    decide(two, 0, 3)
    talk([one, two])
    board.away = "it is away"
    with caplog.at_level("INFO"):
        for _ in range(30):
            clock.now += 0.1
            assert not one.talk()
        assert in_flight(one) == [0.0, 0.0]
        assert (one.peers.tally.failed, one.peers.tally.fault) == (30, "it is away")
        board.away = ""
        talk([two, one])
    assert in_flight(one) == [3.0, 0.0]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_an_observer_that_is_started_again_is_no_other_sidecar(sidecar_of: Make, clock: Clock) -> None:
    one, two = sidecar_of(), sidecar_of()
    decide(one, 0, 2)
    decide(two, 0, 3)
    talk([one, two])
    one.peers._writer.close()  # as the system does it for a killed process
    one.peers = one.observe()
    clock.now += 0.2
    talk([one, two])
    assert in_flight(one) == in_flight(two) == [5.0, 0.0]
    assert one.peers.tally.peers == 1
    (mine,) = [row for row in one.figures().read(one.clock.now) if row.name == "a"]
    assert (mine.own_in_flight, mine.in_flight, mine.decisions) == (2.0, 5.0, 2.0)


def test_a_sidecar_with_other_candidates_shares_what_both_know(sidecar_of: Make) -> None:
    one, two = sidecar_of(names=["a", "b"]), sidecar_of(names=["c", "b", "d"])
    decide(two, 0, 5)
    decide(two, 1, 2)
    talk([one, two])
    assert in_flight(one) == [0.0, 2.0]
    assert [row.name for row in one.figures().read(one.clock.now)] == ["a", "b"]
    own = one.peers._own
    assert own is not None
    assert list(own.rows) == ["a", "b"]  # hearsay is not told on


def test_a_worker_that_meets_a_candidate_only_now_knows_what_others_know_of_it(sidecar_of: Make) -> None:
    one, two = sidecar_of(names=["a"]), sidecar_of(names=["c", "d"])
    decide(two, 1, 5)
    talk([one, two], rounds=3)
    late = FleetView(one.workers[0].live, priors_of(["d"], slots=4.0))
    assert late.read(one.clock.now).in_flight.tolist() == [5.0]


def test_names_that_others_make_up_take_half_of_the_room_at_most(sidecar_of: Make) -> None:
    one, two = sidecar_of(), sidecar_of(names=[f"made up {at}" for at in range(32)])
    talk([one, two], rounds=4)
    assert len(one.peers._writer.names()) == one.table.names // 2
    assert one.peers._writer.names()[:2] == ["a", "b"]


def test_when_an_observer_is_dead_what_it_heard_no_longer_counts(sidecar_of: Make, clock: Clock) -> None:
    one, two = sidecar_of(), sidecar_of()
    decide(two, 0, 3)
    talk([one, two])
    one.read()
    clock.now += one.settings.dead_after_seconds + 0.01
    assert in_flight(one) == [0.0, 0.0]
    assert one.read().crowd == 1.0


def test_nobody_but_the_observer_gets_the_section_of_other_sidecars(tmp_path: Path, clock: Clock) -> None:
    table = FleetTable.create(tmp_path / "fleet", 4, 16, peers=True)
    assert [Writer(table, 2, clock).number for _ in range(3)] == [2, 0, 1]
    with pytest.raises(ConfigError, match="sections of the table are taken"):
        Writer(table, 0, clock)
    assert Writer(table, table.peers, clock).number == 3
    with pytest.raises(ConfigError, match="sections of the table are taken"):
        Writer(table, table.peers, clock)
    table.close()


def test_what_other_sidecars_decide_is_not_taken_for_decisions_of_other_workers(sidecar_of: Make, clock: Clock) -> None:
    one, two = sidecar_of(workers=2), sidecar_of()
    for _ in range(40):
        clock.now += 0.05
        for sidecar in (one, two):
            decide(sidecar, 0, 1)
            decide(sidecar, 1, 1)
            sidecar.read()
            sidecar.talk()
    assert one.read().crowd == pytest.approx(2.0, rel=0.1)  # the second worker is idle


# --- breakers --------------------------------------------------------------------------------------------------------

BREAKING = FleetConfig(
    min_expiry_seconds=100.0,
    expiry_factor=1000.0,
    peers=SETTINGS.peers,
    breaker=BreakerConfig(first_backoff_seconds=1.0, max_backoff_seconds=8.0, jitter=0.0, slow_start_seconds=0.0),
)


def break_(sidecar: Sidecar, candidate: int = 0) -> None:
    for name in decide(sidecar, candidate, 5):
        sidecar.workers[0].hear(name, FAILED)
    sidecar.read()


def is_open(sidecar: Sidecar) -> bool:
    return bool(sidecar.read().open[0])


def pass_time(sidecars: Sequence[Sidecar], seconds: float) -> None:
    end = sidecars[0].clock.clock.now + seconds
    while sidecars[0].clock.clock.now < end:
        sidecars[0].clock.clock.now += 0.1
        talk(sidecars, rounds=1)
        for sidecar in sidecars:
            sidecar.read()


def probe(sidecar: Sidecar, outcome: Outcome) -> None:
    """A call to the first candidate, and what becomes of it."""
    (name,) = decide(sidecar, 0, 1)
    sidecar.clock.clock.now += 0.01
    sidecar.workers[0].hear(name, outcome)
    sidecar.read()


def test_what_one_finds_broken_the_others_leave_alone_for_as_long(sidecar_of: Make) -> None:
    sidecars = one, two = sidecar_of(settings=BREAKING), sidecar_of(settings=BREAKING)
    talk(sidecars)
    break_(one)
    talk(sidecars)
    assert is_open(two)
    left = float(two.read().recovery_seconds[0])
    assert left == pytest.approx(float(one.read().recovery_seconds[0]), abs=0.02)
    pass_time(sidecars, 1.0)
    assert not is_open(two)  # half open: it may try
    assert two.read().quota[0] == 1.0


def test_the_other_one_tries_for_itself_and_goes_by_what_it_finds(sidecar_of: Make) -> None:
    sidecars = one, two = sidecar_of(settings=BREAKING), sidecar_of(settings=BREAKING)
    talk(sidecars)
    break_(one)
    pass_time(sidecars, 1.2)
    probe(two, WELL)
    assert two.read().plain
    # The first one cannot reach it, and finds so again and again: that no longer concerns the second one.
    for _ in range(3):
        probe(one, FAILED)
        pass_time(sidecars, 0.3)
        assert two.read().plain
        assert is_open(one)
        pass_time(sidecars, 8.0)
    # Nor does the second one's success concern the first one, until its own probe succeeds.
    probe(one, FAILED)
    talk(sidecars)
    assert is_open(one)
    pass_time(sidecars, 8.5)
    probe(one, WELL)
    assert one.read().plain
    # A new trouble is news again.
    pass_time(sidecars, 0.2)
    break_(one)
    talk(sidecars)
    assert is_open(two)


def test_what_only_a_hint_had_opened_closes_as_it_is_withdrawn(sidecar_of: Make) -> None:
    sidecars = one, two, three = [sidecar_of(settings=BREAKING) for _ in range(3)]
    talk(sidecars)
    break_(one)
    pass_time(sidecars, 1.0)
    probe(one, WELL)
    assert one.read().plain
    talk(sidecars)
    assert two.read().plain
    assert three.read().plain


def test_what_own_calls_opened_no_hint_shortens(sidecar_of: Make) -> None:
    one, two = sidecar_of(settings=BREAKING), sidecar_of(settings=BREAKING)
    one.talk()
    break_(one)
    pass_time([one], 1.2)
    probe(one, FAILED)
    pass_time([one], 2.2)
    probe(one, FAILED)
    assert one.read().recovery_seconds[0] == pytest.approx(4.0, abs=0.1)
    break_(two)
    talk([two, one])
    assert two.read().recovery_seconds[0] < 1.0
    assert one.read().recovery_seconds[0] == pytest.approx(4.0, abs=0.1)


def test_a_hint_does_not_go_round(sidecar_of: Make, clock: Clock) -> None:
    sidecars = one, two = sidecar_of(settings=BREAKING), sidecar_of(settings=BREAKING)
    talk(sidecars)
    break_(one)
    talk(sidecars)
    assert is_open(two)
    two.peers.tick()
    own = two.peers._own
    assert own is not None
    assert own.changes["a"].at == 0.0
    assert own.rows["a"].changed_at == 0.0
    assert one.peers._group.peers  # it heard of the other one, and nothing of that kind
    changed = one.peers._writer.rows[:, 27]
    assert not changed.any()


def test_a_hint_outlives_who_gave_it(sidecar_of: Make, clock: Clock) -> None:
    sidecars = one, two = sidecar_of(settings=BREAKING), sidecar_of(settings=BREAKING)
    talk(sidecars)
    break_(one)
    talk(sidecars)
    clock.now += 0.5
    two.talk()
    one.peers._server.leave(one.peers._id)
    pass_time([two], 3.0)
    assert two.peers.tally.peers == 0
    assert two.read().quota[0] == 1.0
    probe(two, WELL)
    assert two.read().plain


def test_a_sidecar_that_starts_late_leaves_old_troubles_alone(sidecar_of: Make, clock: Clock) -> None:
    one = sidecar_of(settings=BREAKING)
    one.talk()
    break_(one)
    clock.now += 50.0
    two = sidecar_of(settings=BREAKING)
    talk([one, two])
    assert two.read().plain


def test_what_a_candidate_asked_for_holds_for_all_and_to_the_second(sidecar_of: Make, clock: Clock) -> None:
    one, two = sidecar_of(), sidecar_of()
    talk([one, two])
    (name,) = decide(one, 0, 1)
    one.workers[0].hear(name, Outcome(Fault.RATE_LIMIT, retry_after_seconds=20.0))
    one.read()
    began = clock.now - 0.006
    talk([one, two])
    fleet = two.read()
    assert fleet.open.tolist() == [True, False]
    assert fleet.recovery_seconds[0] == pytest.approx(20.0 - (clock.now - began), abs=0.02)
    pass_time([one, two], 19.0)
    assert is_open(two)
    clock.now = began + 20.1
    assert not is_open(two)


def test_a_peers_cool_down_is_never_longer_than_the_longest_that_is_configured_here(sidecar_of: Make) -> None:
    short = FleetConfig(peers=SETTINGS.peers, breaker=BreakerConfig(max_cool_down_seconds=5.0))
    one, two = sidecar_of(), sidecar_of(settings=short)
    talk([one, two])
    (name,) = decide(one, 0, 1)
    one.workers[0].hear(name, Outcome(Fault.RATE_LIMIT, retry_after_seconds=3000.0))
    one.read()
    talk([one, two])
    assert 4.0 < two.read().recovery_seconds[0] <= 5.0


def test_used_up_limits_of_a_shared_account_hold_for_all(sidecar_of: Make, clock: Clock) -> None:
    one, two = sidecar_of(), sidecar_of()
    talk([one, two])
    limits = Telemetry(rate_limit_remaining_requests=0.0, rate_limit_reset_unix=one.clock.unix() + 9.0)
    one.workers[0].live.report("a", limits)
    one.read()
    assert is_open(one)
    talk([one, two])
    assert is_open(two)
    assert two.read().recovery_seconds[0] == pytest.approx(9.0, abs=0.1)


def test_what_peers_ask_for_counts_against_the_limits_that_this_sidecar_heard_of(
    sidecar_of: Make, clock: Clock
) -> None:
    one, two = sidecar_of(), sidecar_of()
    talk([one, two])
    one.workers[0].live.report(
        "a", Telemetry(rate_limit_remaining_requests=5.0, rate_limit_reset_unix=one.clock.unix() + 9.0)
    )
    assert not is_open(one)
    decide(two, 0, 5)
    talk([one, two])
    assert is_open(one)


def test_limits_that_this_sidecar_used_up_itself_hold_for_all_whatever_peers_had_asked_for_before(
    sidecar_of: Make,
) -> None:
    one, two = sidecar_of(), sidecar_of()
    talk([one, two])
    decide(two, 0, 10)
    talk([one, two])
    one.read()
    one.workers[0].live.report(
        "a", Telemetry(rate_limit_remaining_requests=5.0, rate_limit_reset_unix=one.clock.unix() + 9.0)
    )
    one.read()
    decide(one, 0, 5)
    assert is_open(one)
    talk([one, two])
    assert is_open(two)


# --- budgets ---------------------------------------------------------------------------------------------------------


class Spender:
    """A sidecar's budgets."""

    def __init__(self, sidecar: Sidecar, **limits: float) -> None:
        self.sidecar = sidecar
        live = sidecar.workers[0].live
        config = BudgetConfig(name="all", burst_seconds=1.0, **limits)  # type: ignore[arg-type]
        self.budgets = Budgets(live, [config], sidecar.clock.unix, sidecar.clock.now)
        self.view = BudgetView(self.budgets, ["a", "b"])

    def spend(self, requests: int, tokens: float = 0.0, usd: float = 0.0) -> None:
        for _ in range(requests):
            self.view.decided("", 0, tokens, usd)
        self.sidecar.read()

    def used_up(self) -> bool:
        self.sidecar.read()
        return self.view.closed("", self.sidecar.clock.now) is not None


def test_requests_and_tokens_of_all_sidecars_come_out_of_one_budget(sidecar_of: Make, clock: Clock) -> None:
    for limits, spent in (({"requests_per_minute": 600.0}, (10, 0.0)), ({"tokens_per_minute": 6000.0}, (1, 150.0))):
        one, two = sidecar_of(), sidecar_of()
        first, second = Spender(one, **limits), Spender(two, **limits)
        talk([one, two])
        assert not first.used_up()
        second.spend(*spent)
        talk([one, two])
        assert first.used_up()
        assert second.used_up()
        pass_time([one, two], 2.0)
        assert not first.used_up()
        assert not second.used_up()
        assert [row.requests for row in one.figures().budgets(clock.unix())] == [0.0]  # figures are a sidecar's own


def test_money_of_all_sidecars_counts_also_of_those_that_are_gone(sidecar_of: Make, clock: Clock, board: Board) -> None:
    clock.now = DAY_S * (UNIX // DAY_S + 1.0) - UNIX + 3600.0
    one, two = sidecar_of(), sidecar_of()
    first, second = Spender(one, usd_per_day=10.0), Spender(two, usd_per_day=10.0)
    second.spend(1, usd=6.0)
    first.spend(1, usd=3.0)
    talk([one, two])
    assert not first.used_up()
    second.spend(1, usd=1.0)
    talk([one, two])
    assert first.used_up()
    two.peers._server.leave(two.peers._id)
    pass_time([one], 5.0)
    assert first.used_up()
    board.away = "away"
    pass_time([one], 5.0)
    assert first.used_up()
    board.away = ""
    three = sidecar_of()
    third = Spender(three, usd_per_day=10.0)
    talk([one, three])
    assert third.used_up()
    clock.now += DAY_S
    talk([one, three])
    assert not first.used_up()
    assert not third.used_up()

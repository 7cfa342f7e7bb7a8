"""Who hangs, and who only seems to, over whole workers in virtual time."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sidecar.fleet.outcome import Outcome
from sidecar.fleet.reckoning import Call, Open
from sidecar.fleet.settings import BreakerConfig
from sidecar.fleet.silence import LEAST_ANSWERS, Silence
from sidecar.fleet.table import FleetTable
from tests.fleet.traffic import Traffic

SHARES = (0.5, 0.3, 0.2)
HANGS = 30.0
FIRST_TOKEN = Outcome(first_token_seconds=0.3, ended=False)


@contextmanager
def traffic(rate: float = 40.0, **kwargs: Any) -> Iterator[Traffic]:
    with tempfile.TemporaryDirectory() as directory:
        table = FleetTable.create(Path(directory) / "fleet", 6, 16)
        yield Traffic(table, SHARES, rate, **kwargs)
        table.close()


def nobody_is_suspected(made: Traffic) -> bool:
    return made.suspicions() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_candidate_that_hangs_is_left_alone_within_two_seconds_and_others_are_not(workers: int) -> None:
    with traffic(workers=workers) as made:
        made.run(HANGS)
        assert nobody_is_suspected(made)
        made.hanging.add(0)
        made.run(12.0)
        assert made.opened(0)
        assert made.share(0, HANGS + 2.0, HANGS + 12.0) < 0.01
        suspicions = made.suspicions()
        assert suspicions[0] >= 1.0
        assert suspicions[1:] == [0.0, 0.0]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("patience_s", [3.0, float("inf")])
@pytest.mark.parametrize("hung_s", [6.0, 25.0])
def test_it_comes_back_within_ten_seconds_of_its_recovery_and_without_a_stampede(
    workers: int, patience_s: float, hung_s: float
) -> None:
    # So many that a second's share is no matter of chance: of 40, it was up to 0.73 without any failure.
    with traffic(160.0, workers=workers) as made:
        made.patience_s = patience_s
        made.run(HANGS)
        made.hanging.add(0)
        made.run(hung_s)
        made.thaw()
        back = made.now
        made.run(20.0)
        assert not made.opened(0)
        assert made.share(0, back + 10.0, back + 20.0) > 0.4
        assert made.share(0, back, back + 0.5) < 0.25
        assert max(made.share(0, back + begin, back + begin + 1.0) for begin in range(19)) < 1.5 * SHARES[0]


def test_the_times_of_calls_that_lay_through_it_are_not_learned_from() -> None:
    with traffic() as made:
        made.run(HANGS)
        before = made.workers[0].read().first_token_seconds[0]
        made.hanging.add(0)
        made.run(8.0)
        made.thaw()
        made.run(10.0)
        assert made.workers[0].read().first_token_seconds[0] == pytest.approx(before, rel=0.1)


def test_the_first_sign_of_life_is_enough_and_a_first_token_is_one() -> None:
    with traffic() as made:
        made.run(HANGS)
        made.hanging.add(0)
        made.run(4.0)
        assert made.opened(0)
        [worker] = made.workers
        decision = next(d for d, c in _in_flight(made) if c == 0)
        assert worker.hear(decision, FIRST_TOKEN)
        made.run(0.05)
        assert not made.opened(0)


def _in_flight(made: Traffic) -> list[tuple[str, int]]:
    [worker] = made.workers
    found = []
    for decision in sorted(made._open):
        call = worker.live.reckoning.recall(int(decision[22:], 16))
        if call is not None and call.in_flight:
            found.append((decision, call.row))
    return found


def test_where_first_tokens_are_told_long_answers_are_no_silence() -> None:
    with traffic() as made:
        made.run(HANGS)
        made.hanging.add(0)
        [worker] = made.workers
        for _ in range(20):
            decision = next(d for d, c in _in_flight(made) if c == 0)
            worker.hear(decision, FIRST_TOKEN)
            made.run(0.5)
        assert nobody_is_suspected(made)


steady = settings(deadline=None, max_examples=5, phases=(Phase.explicit, Phase.reuse, Phase.generate))


@pytest.mark.slow
@steady
@given(
    rate=st.sampled_from([4.0, 20.0, 60.0]),
    slower=st.floats(1.0, 3.0),
    workers=st.integers(1, 3),
    seed=st.integers(0, 1 << 30),
)
def test_a_server_that_gets_slow_but_answers_is_never_suspected(
    rate: float, slower: float, workers: int, seed: int
) -> None:
    with traffic(rate, workers=workers, seed=seed) as made:
        made.run(40.0)
        made.pace[0] = slower
        made.run(40.0)
        assert nobody_is_suspected(made)


@pytest.mark.slow
@steady
@given(
    rate=st.sampled_from([4.0, 20.0, 60.0]),
    hangs=st.sets(st.integers(0, 2)),
    workers=st.integers(1, 3),
    seed=st.integers(0, 1 << 30),
)
def test_where_nobody_reports_nobody_is_suspected(rate: float, hangs: set[int], workers: int, seed: int) -> None:
    with traffic(rate, workers=workers, seed=seed) as made:
        made.mute = True
        made.run(20.0)
        made.hanging |= hangs
        made.run(30.0)
        assert nobody_is_suspected(made)
        assert not any(made.opened(candidate) for candidate in range(3))


@pytest.mark.slow
@steady
@given(since=st.floats(15.0, 25.0), seed=st.integers(0, 1 << 30))
def test_where_reporting_ends_nobody_is_suspected(since: float, seed: int) -> None:
    with traffic(seed=seed) as made:
        made.run(since)
        made.mute = True
        made.run(15.0)
        assert nobody_is_suspected(made)


@pytest.mark.slow
@steady
@given(
    away_s=st.floats(0.05, 8.0),
    rate=st.sampled_from([4.0, 20.0, 60.0]),
    workers=st.integers(1, 3),
    slow=st.floats(1.0, 6.0),
    seed=st.integers(0, 1 << 30),
)
def test_a_gateway_that_was_restarted_and_lost_its_calls_makes_nobody_suspect(
    away_s: float, rate: float, workers: int, slow: float, seed: int
) -> None:
    with traffic(rate, workers=workers, seed=seed) as made:
        made.pace[0] = slow  # so that others are heard of first
        made.run(40.0)
        made.pause(away_s)
        made.run(20.0)
        assert nobody_is_suspected(made)


@pytest.mark.slow
@steady
@given(heap_s=st.floats(0.2, 6.0), rate=st.sampled_from([4.0, 20.0, 60.0]), seed=st.integers(0, 1 << 30))
def test_a_gateway_that_reports_in_heaps_makes_nobody_suspect(heap_s: float, rate: float, seed: int) -> None:
    with traffic(rate, seed=seed) as made:
        made.heap_s = heap_s
        made.run(60.0)
        assert nobody_is_suspected(made)


def test_reported_in_heaps_a_hang_is_found_after_some_of_them() -> None:
    with traffic() as made:
        made.heap_s = 2.0
        made.run(HANGS)
        made.hanging.add(0)
        made.run(8.0)
        assert made.suspicions()[0] == 1.0


@pytest.mark.slow
@steady
@given(longer=st.floats(2.0, 20.0), seed=st.integers(0, 1 << 30))
def test_a_burst_of_long_prompts_makes_nobody_suspect(longer: float, seed: int) -> None:
    with traffic(20.0, seed=seed) as made:
        made.run(40.0)
        made.tokens[0], made.pace[0] = made.tokens[0] * longer, longer
        made.run(5.0)
        made.shares[0] = 0.0
        made.run(30.0)
        assert nobody_is_suspected(made)


@pytest.mark.slow
@steady
@given(quiet_s=st.floats(1.0, 60.0), seed=st.integers(0, 1 << 30))
def test_when_nobody_asks_nobody_is_suspected(quiet_s: float, seed: int) -> None:
    with traffic(seed=seed) as made:
        made.run(30.0)
        shares, made.shares = made.shares, [0.0, 0.5, 0.5]
        made.run(quiet_s)
        made.shares = shares
        made.run(10.0)
        assert nobody_is_suspected(made)


def test_a_stall_that_was_survived_once_is_not_taken_for_a_hang_again_at_once() -> None:
    with traffic() as made:
        made.run(HANGS)
        for _ in range(4):
            made.hanging.add(0)
            made.run(1.9)
            made.thaw()
            made.run(8.0)
        assert 1.0 <= made.suspicions()[0] <= 2.0


def test_switched_off_it_is_never_suspected() -> None:
    silence = _taught(BreakerConfig(silence_phi=0.0))
    assert _look_after(silence, 100.0) == []


@pytest.mark.parametrize(
    ("changed", "suspects"),
    [
        ({}, [0]),
        ({"phi": 20.0}, []),  # not surprising enough
        ({"overdue": 4}, []),  # too few calls
        ({"silent_s": 0.9}, []),  # too short
        ({"started": 4.0}, []),  # nothing was asked since
        ({"reported": False}, []),  # nothing else was heard since
        ({"oldest": 199.0}, []),  # only of calls that were decided later: the gateway may have lost the others
        ({"slower": 6.0, "overdue": 12}, []),  # the latest answers took longer, too
        ({"answers": -1}, []),  # too little is known
        ({"elsewhere": 5.0, "overdue": 1}, [0]),  # other workers' calls count
    ],
)
def test_each_condition_is_needed(changed: dict[str, Any], suspects: list[int]) -> None:
    case = {
        "phi": 4.0,
        "overdue": 8,
        "silent_s": 1.5,
        "started": 10.0,
        "reported": True,
        "oldest": 195.0,
        "slower": 1.0,
        "answers": 200,
        "elsewhere": 0.0,
        **changed,
    }
    silence = _taught(BreakerConfig(silence_phi=case["phi"]), answers=case["answers"])
    for _ in range(int(LEAST_ANSWERS) if case["answers"] > 0 else int(LEAST_ANSWERS) - 1):
        silence.answered(Call(0, 100.0, 0.0, 100.0, 1.0), 100.0 + 1.1 * case["slower"])
    sign = 200.0
    decided = np.full(case["overdue"], sign - 1.3)
    for now in (sign, sign + 0.01, sign + case["silent_s"]):
        if case["reported"]:
            silence.reported(case["oldest"], now)
        calls = Open(
            np.zeros(len(decided), np.int16),
            np.full(len(decided), 100.0, np.float32),
            decided,
            np.full(len(decided), 1.0),
        )
        elsewhere = np.array([case["elsewhere"]])
        started = np.array([case["started"] if now > sign else 0.0])
        look = silence.look(calls, np.array([sign]), started, (elsewhere, 10.0 * elsewhere), now)
    assert look.suspects == suspects


@pytest.mark.parametrize(("lost", "suspects"), [(194.0, []), (198.7, [0])])
def test_calls_that_a_restart_lost_before_the_last_sign_do_not_make_up_the_number(
    lost: float, suspects: list[int]
) -> None:
    silence = _taught(BreakerConfig(silence_phi=4.0))
    silence.reported(190.0, 196.0)
    calls = Open(
        np.zeros(8, np.int16),
        np.full(8, 100.0, np.float32),
        np.array([lost] * 4 + [198.7] * 4),
        np.full(8, 1.0),
    )
    zero = np.zeros(1)
    for now in (200.0, 200.01, 201.5):
        silence.reported(198.0, now)
        look = silence.look(calls, np.array([200.0]), np.array([9.0 * (now > 200.0)]), (zero, zero), now)
    assert look.suspects == suspects


def _taught(config: BreakerConfig, answers: int = 200) -> Silence:
    """Calls take 0.8 to 1.5 s."""
    silence = Silence(1, config)
    for number in range(answers):
        silence.answered(Call(0, 100.0, 0.0, 100.0, 1.0), 100.8 + 0.7 * (37 * number % answers) / answers)
    return silence


def _look_after(silence: Silence, seconds: float) -> list[int]:
    calls = Open(np.zeros(9, np.int16), np.full(9, 100.0, np.float32), np.full(9, 200.0), np.full(9, 1.0))
    zero = np.zeros(1)
    for now in (200.0, 201.0, 200.0 + seconds):
        silence.reported(190.0, now)
        found = silence.look(calls, np.array([199.0]), np.array([9.0 * (now > 200.0)]), (zero, zero), now).suspects
    return found

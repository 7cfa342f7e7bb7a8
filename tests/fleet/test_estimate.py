import numpy as np
import pytest

from sidecar.fleet.columns import (
    COLUMNS,
    FIRST_TOKEN,
    IN_FLIGHT_THEN,
    LOAD_AT,
    MAX_RUNNING,
    PER_TOKEN,
    RUNNING,
    SLOTS_SEEN,
    WAITING,
)
from sidecar.fleet.estimate import Block, Estimates, Priors, estimate
from sidecar.fleet.latency import observe
from sidecar.fleet.outcome import Outcome
from sidecar.fleet.settings import FleetConfig
from tests.fleet.stage import NAN, priors_of

NOW = 1000.0
SETTINGS = FleetConfig(
    prior_weight=5.0, telemetry_weight=20.0, telemetry_half_life_seconds=5.0, latency_half_life_seconds=60.0
)


def block_of(outcomes: int = 0, outcome: Outcome | None = None, **load: float) -> Block:
    """One candidate as one process knows it: some outcomes of now, and telemetry."""
    block = np.zeros((1, 1, COLUMNS))
    cells = memoryview(block).cast("B").cast("d")  # type: ignore[arg-type]
    for _ in range(outcomes):
        assert outcome is not None
        observe(cells, 0, outcome, 0.0, NOW, SETTINGS.latency_half_life_seconds)
    if load:
        block[0, 0, RUNNING : SLOTS_SEEN + 1] = NAN
        block[0, 0, [IN_FLIGHT_THEN, SLOTS_SEEN]] = 0.0
        block[0, 0, LOAD_AT] = NOW
    columns = {
        "running": RUNNING,
        "waiting": WAITING,
        "max_running": MAX_RUNNING,
        "first": FIRST_TOKEN,
        "per_token": PER_TOKEN,
        "ours": IN_FLIGHT_THEN,
        "seen": SLOTS_SEEN,
    }
    for name, value in load.items():
        block[0, 0, columns[name]] = value
    return block


def of(block: Block, priors: Priors, later: float = 0.0) -> Estimates:
    return estimate(block, priors, SETTINGS, NOW + later)


def test_before_anything_is_measured_it_is_what_is_configured() -> None:
    estimates = of(block_of(), priors_of(["a"], first=0.4, per_token=0.02, tokens=100.0, slots=8.0))
    assert estimates.first_token_seconds[0] == pytest.approx(0.4)
    assert estimates.seconds_per_token[0] == pytest.approx(0.02)
    assert estimates.step_seconds[0] == pytest.approx((0.4 + 2.0) / 8.0)
    assert estimates.known[0]


def test_where_nothing_is_known_it_is_0_and_says_so() -> None:
    estimates = of(block_of(), priors_of(["a"]))
    assert not estimates.known[0]
    assert estimates.first_token_seconds[0] == estimates.seconds_per_token[0] == estimates.step_seconds[0] == 0.0
    assert estimates.slots[0] == np.inf
    assert not any(np.isnan(column).any() for column in (*estimates[:-1], *estimates.evidence))


SLOW = Outcome(first_token_seconds=2.0, latency_seconds=12.0, output_tokens=101.0)


def test_measurements_outweigh_the_prior_as_they_become_many() -> None:
    priors = priors_of(["a"], first=1.0, per_token=0.05)
    few, many = of(block_of(5, SLOW), priors), of(block_of(500, SLOW), priors)
    assert few.first_token_seconds[0] == pytest.approx(1.5)
    assert few.seconds_per_token[0] == pytest.approx(0.075)
    assert many.first_token_seconds[0] == pytest.approx(2.0, abs=0.02)


def test_old_measurements_give_way_to_the_prior_again_and_without_one_to_unknown() -> None:
    block = block_of(5, SLOW)
    assert of(block, priors_of(["a"], first=1.0), later=3600.0).first_token_seconds[0] == pytest.approx(1.0, abs=1e-6)
    without = priors_of(["a"])
    assert of(block, without).first_token_seconds[0] == pytest.approx(2.0)
    assert of(block, without, later=60.0).known[0]
    assert not of(block, without, later=3600.0).known[0]


def test_uncertainty_shrinks_with_evidence_and_grows_with_its_age() -> None:
    priors = priors_of(["a"], first=1.0)
    amounts = [of(block_of(n, SLOW), priors).uncertainty[0] for n in (0, 5, 500)]
    assert amounts[0] > amounts[1] > amounts[2] > 0.0
    ages = [of(block_of(50, SLOW), priors, later=later).uncertainty[0] for later in (0.0, 60.0, 600.0)]
    assert ages[0] < ages[1] < ages[2]


def test_what_a_server_has_beside_our_own_calls_fades_with_its_age_to_unknown_and_uncertain() -> None:
    priors = priors_of(["a"], first=1.0, per_token=0.0, slots=4.0)
    block = block_of(running=10.0, waiting=6.0, ours=4.0)
    fresh, half, old = (of(block, priors, later=later) for later in (0.0, 5.0, 31.0))
    assert [estimates.foreign[0] for estimates in (fresh, half, old)] == pytest.approx([12.0, 6.0, 0.0])
    assert fresh.uncertainty[0] < half.uncertainty[0] < old.uncertainty[0]


def test_a_server_that_has_fewer_calls_than_we_counted_corrects_the_count() -> None:
    assert of(block_of(running=2.0, waiting=0.0, ours=50.0), priors_of(["a"])).foreign[0] == -48.0


def test_a_server_that_does_not_say_how_many_run_says_nothing_of_the_queue() -> None:
    assert of(block_of(first=0.5, ours=7.0), priors_of(["a"])).foreign[0] == 0.0


@pytest.mark.parametrize(
    ("slots", "load", "expected"),
    [
        (8.0, {"max_running": 16.0, "seen": 4.0}, 8.0),
        (NAN, {"max_running": 16.0, "seen": 4.0}, 16.0),
        (NAN, {"seen": 4.0, "running": 2.0}, 4.0),
        (NAN, {"running": 2.0}, np.inf),
    ],
)
def test_slots_are_configured_or_stated_or_learned(slots: float, load: dict[str, float], expected: float) -> None:
    assert of(block_of(0, None, **load), priors_of(["a"], slots=slots)).slots[0] == expected


def test_times_that_a_server_states_count_while_they_are_fresh_and_without_its_queue() -> None:
    priors = priors_of(["a"], first=1.0, per_token=0.0, slots=2.0)
    idle = of(block_of(running=1.0, first=3.0, per_token=0.0), priors)
    assert idle.first_token_seconds[0] == pytest.approx((5 * 1.0 + 20 * 3.0) / 25)
    # 3 wait before a new one's turn comes (4 there, 2 slots), half a second each.
    queued = of(block_of(running=2.0, waiting=2.0, first=3.0, per_token=0.0), priors)
    assert queued.first_token_seconds[0] == pytest.approx((5 * 1.0 + 20 * (3.0 - 3 * 0.5)) / 25)
    old = of(block_of(running=1.0, first=3.0, per_token=0.0), priors, later=31.0)
    assert old.first_token_seconds[0] == pytest.approx(1.0)


def test_a_server_alone_is_enough_to_know_its_times() -> None:
    estimates = of(block_of(running=4.0, max_running=4.0, first=0.5, per_token=0.01), priors_of(["a"], tokens=50.0))
    assert estimates.known[0]
    assert estimates.seconds_per_token[0] == pytest.approx(0.01)
    assert estimates.step_seconds[0] == pytest.approx(1.0 / 4.0)


def test_of_several_observers_the_latest_counts() -> None:
    block = np.concatenate([block_of(running=9.0, max_running=9.0), block_of(running=5.0, max_running=5.0)])
    block[0, 0, LOAD_AT] -= 1.0
    estimates = of(block, priors_of(["a"]))
    assert estimates.foreign[0] == 5.0
    assert estimates.slots[0] == 5.0

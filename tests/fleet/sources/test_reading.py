from math import inf, isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.sources.engines import Engine, engines
from sidecar.fleet.sources.reading import Growth, Replica, observe
from sidecar.fleet.sources.samples import Exposition, Samples
from sidecar.fleet.sources.settings import EngineConfig
from tests.fleet.sources import expositions

VLLM = engines({})["vllm"]


def read(engine: Engine, text: str) -> Samples:
    return Exposition(engine.wanted()).read(text)


def engine_of(**figures: str) -> Engine:
    return engines({"mine": EngineConfig(**figures)})["mine"]


# --- growth ----------------------------------------------------------------------------------------------------------


def test_growth_is_that_of_the_window() -> None:
    growth = Growth(10.0)
    for now in range(31):
        growth.add(float(now), float(now * now))
    assert growth.lately() == (30.0**2 - 20.0**2, 10.0)


def test_before_the_second_reading_there_is_no_growth() -> None:
    growth = Growth(10.0)
    growth.add(5.0, 100.0)
    assert growth.lately() == (0.0, 0.0)


def test_a_counter_that_was_reset_begins_anew() -> None:
    growth = Growth(100.0)
    for now, value in enumerate((100.0, 110.0, 3.0, 5.0)):
        growth.add(float(now), value)
    assert growth.lately() == (2.0, 1.0)


@given(st.lists(st.floats(0.0, 1e12), min_size=1, max_size=50), st.floats(1.0, 20.0))
def test_growth_is_never_negative(values: list[float], window_s: float) -> None:
    growth = Growth(window_s)
    for now, value in enumerate(values):
        growth.add(float(now), value)
        grown, seconds = growth.lately()
        assert grown >= 0.0
        assert seconds <= window_s + 1.0


# --- observations ----------------------------------------------------------------------------------------------------


def test_requests_are_summed_and_shares_averaged_over_replicas() -> None:
    replicas = [Replica(VLLM, 15.0), Replica(VLLM, 15.0)]
    replicas[0].hear(read(VLLM, expositions.vllm(3.0, 2.0, 0.25)), 0.0)
    replicas[1].hear(read(VLLM, expositions.vllm(5.0, 0.0, 0.75)), 0.0)
    seen = observe(VLLM, replicas, 77.0)
    assert (seen.running, seen.waiting, seen.kv_used, seen.observed_unix) == (8.0, 2.0, 0.5, 77.0)
    assert isnan(seen.max_running)


def test_engines_of_one_server_count_as_replicas_do() -> None:
    text = expositions.vllm(3.0, kv=0.2, engine="0") + expositions.vllm(4.0, kv=0.6, engine="1")
    replica = Replica(VLLM, 15.0)
    replica.hear(read(VLLM, text), 0.0)
    seen = observe(VLLM, [replica], 0.0)
    assert seen.running == 7.0
    assert seen.kv_used == pytest.approx(0.4)


def test_a_replica_that_cannot_be_read_counts_not_at_all() -> None:
    replicas = [Replica(VLLM, 15.0), Replica(VLLM, 15.0)]
    for replica in replicas:
        replica.hear(read(VLLM, expositions.vllm(3.0)), 0.0)
    replicas[1].hear(None, 1.0)
    assert observe(VLLM, replicas, 0.0).running == 3.0


def test_times_are_recent_means_weighted_by_requests() -> None:
    replicas = [Replica(VLLM, 15.0), Replica(VLLM, 15.0)]
    for replica in replicas:
        replica.hear(read(VLLM, expositions.vllm(ttft=(1000.0, 1000.0), tpot=(50.0, 1000.0), tokens=100.0)), 0.0)
    first = observe(VLLM, replicas, 0.0)
    assert isnan(first.first_token_seconds), "a mean since the server's start says nothing of now"
    assert isnan(first.tokens_per_second)
    replicas[0].hear(read(VLLM, expositions.vllm(ttft=(1001.0, 1001.0), tpot=(52.0, 1100.0), tokens=120.0)), 2.0)
    replicas[1].hear(read(VLLM, expositions.vllm(ttft=(1009.0, 1003.0), tpot=(52.0, 1100.0), tokens=140.0)), 2.0)
    seen = observe(VLLM, replicas, 0.0)
    assert seen.first_token_seconds == pytest.approx(10.0 / 4.0)
    assert seen.seconds_per_token == pytest.approx(0.02)
    assert seen.tokens_per_second == pytest.approx(10.0 + 20.0)


def test_a_window_in_which_nothing_was_answered_leaves_times_unknown_and_rates_zero() -> None:
    replica = Replica(VLLM, 15.0)
    for now in (0.0, 1.0):
        replica.hear(read(VLLM, expositions.vllm(ttft=(5.0, 5.0))), now)
    seen = observe(VLLM, [replica], 0.0)
    assert isnan(seen.first_token_seconds)
    assert (seen.tokens_per_second, seen.errors_per_second) == (0.0, 0.0)


def test_a_server_that_began_anew_is_read_anew() -> None:
    replica = Replica(VLLM, 15.0)
    for now, tokens in enumerate((900.0, 1000.0, 10.0, 30.0)):
        replica.hear(read(VLLM, expositions.vllm(tokens=tokens)), float(now))
    assert observe(VLLM, [replica], 0.0).tokens_per_second == 20.0


def test_errors_are_those_of_the_server_only() -> None:
    replica = Replica(VLLM, 15.0)
    for now, errors in enumerate((0.0, 6.0)):
        replica.hear(read(VLLM, expositions.vllm(errors=errors)), 2.0 * now)
    assert observe(VLLM, [replica], 0.0).errors_per_second == 3.0


def test_a_label_that_no_row_has_yet_is_a_counter_at_zero() -> None:
    tgi = engines({})["tgi"]
    replica = Replica(tgi, 15.0)
    for now, failures in enumerate((5, 9)):
        replica.hear(read(tgi, expositions.tgi(failures={"validation": float(failures)})), float(now))
    assert observe(tgi, [replica], 0.0).errors_per_second == 0.0


def test_the_first_alternative_that_is_there_counts() -> None:
    engine = engine_of(running="new | old")
    replica = Replica(engine, 15.0)
    replica.hear({"old": [({}, 7.0)]}, 0.0)
    assert observe(engine, [replica], 0.0).running == 7.0
    replica.hear({"old": [({}, 7.0)], "new": [({}, 8.0)]}, 0.0)
    assert observe(engine, [replica], 0.0).running == 8.0


@pytest.mark.parametrize("value", [nan, inf, -inf, -1.0])
def test_what_is_no_sensible_number_is_unknown(value: float) -> None:
    engine = engine_of(running="a", tokens_per_second="rate(a)", kv_used="a")
    replica = Replica(engine, 15.0)
    for now in (0.0, 1.0):
        replica.hear({"a": [({}, value)]}, now)
    seen = observe(engine, [replica], 0.0)
    assert isnan(seen.running)
    assert isnan(seen.kv_used)
    assert isnan(seen.tokens_per_second) or seen.tokens_per_second == 0.0


def test_a_share_is_one_at_most() -> None:
    engine = engine_of(kv_used="a")
    replica = Replica(engine, 15.0)
    replica.hear({"a": [({}, 1.02)]}, 0.0)
    assert observe(engine, [replica], 0.0).kv_used == 1.0

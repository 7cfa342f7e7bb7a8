"""What was decided is counted on when the engine's turn is over."""

import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.bundle.load import Bundle, load
from sidecar.lanes.canary import Canary
from sidecar.lanes.versions import MOST_VERSIONS, OLDER
from tests.conftest import POISON
from tests.lanes.engines import FOREVER_S, Bench, of_version


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load(tiny_bundle)


@pytest.fixture
def bench(bundle: Bundle) -> Bench:
    return Bench(bundle)


def test_the_counts_of_each_version_survive_its_end(bench: Bench, bundle: Bundle) -> None:
    first = bench.services.engine
    for _ in range(3):
        bench.route()
    second = bench.engine(of_version(bundle, "2"))
    bench.switch(second)
    bench.route()
    bench.route(POISON)
    counts = bench.services.decisions()
    assert counts["tiny 1"] == (3, 0, 1)
    assert counts["tiny 2"] == (2, 1, 1)
    assert list(counts)[-1] == "tiny 2"
    bench.switch(first)
    bench.route()
    assert bench.services.decisions() == {"tiny 2": (2, 1, 1), "tiny 1": (4, 0, 2)}


def test_a_swap_empties_the_score_cache_and_its_counts_survive(bench: Bench, bundle: Bundle) -> None:
    services = bench.services
    first = services.engine
    for _ in range(3):
        bench.route()
    assert services.cache()[:3] == (2, 1, 0)
    assert services.cache().held_bytes > 0
    bench.switch(bench.engine(of_version(bundle, "2")))
    assert first.cache == (0, 0, 0, 0)
    assert services.cache() == (2, 1, 0, 0)
    bench.route()
    assert services.cache()[:2] == (2, 2)  # the new one knows nothing
    bench.switch(first)
    bench.route()
    assert services.cache()[:2] == (2, 3)  # and the old one has forgotten
    bench.route()
    assert services.cache()[:2] == (3, 3)


def test_a_canary_has_a_score_cache_of_its_own(bench: Bench, bundle: Bundle) -> None:
    services = bench.services
    bench.switch(services.engine, Canary(bench.engine(of_version(bundle, "2")), 0.5))
    for number in range(40):
        bench.route(session_id=str(number))
    assert services.cache()[:2] == (38, 2)


def test_the_counts_are_bounded_and_the_running_version_keeps_its_own(bench: Bench, bundle: Bundle) -> None:
    amount = 3 * MOST_VERSIONS
    for number in range(amount):
        bench.switch(bench.engine(of_version(bundle, f"v{number}")))
        bench.route()
    counts = bench.services.decisions()
    assert len(counts) <= MOST_VERSIONS + 1
    assert counts[f"tiny v{amount - 1}"].decisions == 1
    assert counts[f"tiny v{amount - 2}"].decisions == 1
    assert counts[OLDER].decisions == amount - MOST_VERSIONS
    assert sum(one.decisions for one in counts.values()) == amount


@settings(max_examples=30)
@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=40))
def test_no_decision_is_lost_or_counted_twice_however_often_bundles_change(
    bundle: Bundle, steps: list[int | None]
) -> None:
    bench = Bench(bundle)
    engines = [bench.engine(of_version(bundle, str(number))) for number in range(6)]
    routed = 0
    for step in steps:
        if step is None:
            bench.route()
            routed += 1
        else:
            bench.switch(engines[step])
        assert sum(one.decisions for one in bench.services.decisions().values()) == routed


def test_counting_never_dips_while_an_engine_retires(bench: Bench, bundle: Bundle) -> None:
    engines = [bench.engine(of_version(bundle, version)) for version in "12"]
    stop, dips, most = threading.Event(), [], 0

    def look() -> None:
        nonlocal most
        while not stop.is_set():
            total = sum(one.decisions for one in bench.services.decisions().values())
            if total < most:
                dips.append((most, total))
            most = max(most, total)

    watcher = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    watcher.start()
    try:
        for number in range(200):
            bench.route()
            bench.switch(engines[number % 2])
    finally:
        stop.set()
        watcher.join(FOREVER_S)
        sys.setswitchinterval(interval)
    assert dips == []
    assert most > 0

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.control.messages import State, Target
from sidecar.control.metrics import Metrics, publish
from sidecar.control.observed import Seen
from sidecar.errors import ConfigError
from sidecar.fleet.peers.tally import PeersTally
from sidecar.fleet.sources.tally import Tally
from sidecar.fleet.telemetry import Telemetry
from sidecar.stats import Stats

ONE, TWO = Target("/v1", "tiny 1", "11"), Target("/v2", "tiny 2", "22")


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(alarm_below=0.9)
    metrics.stats = Stats(
        versions={"tiny 1": (100, 3, 40), "tiny 2": (7, 0, 7)},
        invalid=1,
        shed=2,
        over_budget=9,
        expired=3,
        cancelled=4,
        cache_hits=5,
        cache_misses=6,
        cache_evictions=7,
        cache_bytes=8,
        window={"good": (99, 1), "bad": (10, 90), "few": (0, 5)},
        providers={"CPUExecutionProvider": (1,), "CUDAExecutionProvider": (2,)},
        device_faults=4,
        connections=12,
        closed={"flood: PING": (3,), "no HTTP/2": (1,)},
    )
    metrics.state = State(ONE, TWO, TWO, 0.25)
    metrics.workers, metrics.stuck, metrics.swaps = 3, 2, {"ACTIVATED": 5, "REFUSED": 1}
    return metrics


def fetched(address: str) -> dict[tuple[str, tuple[str, ...]], float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_gets_every_figure(metrics: Metrics, unused_tcp_port_factory: Callable[[], int]) -> None:
    address = f"127.0.0.1:{unused_tcp_port_factory()}"
    end = publish(metrics, address)
    try:
        found = fetched(address)
        expected = {
            ("router_decisions_total", ("tiny 1",)): 100,
            ("router_decisions_total", ("tiny 2",)): 7,
            ("router_degraded_total", ("tiny 1",)): 3,
            ("router_runs_total", ("tiny 1",)): 40,
            ("router_drops_total", ("invalid",)): 1,
            ("router_drops_total", ("shed",)): 2,
            ("router_drops_total", ("over_budget",)): 9,
            ("router_drops_total", ("expired",)): 3,
            ("router_drops_total", ("cancelled",)): 4,
            ("router_connections", ()): 12,
            ("router_connections_closed_total", ("flood: PING",)): 3,
            ("router_connections_closed_total", ("no HTTP/2",)): 1,
            ("router_cache_lookups_total", ("hit",)): 5,
            ("router_cache_lookups_total", ("miss",)): 6,
            ("router_cache_evictions_total", ()): 7,
            ("router_cache_bytes", ()): 8,
            ("router_coverage", ("good",)): 0.99,
            ("router_coverage", ("bad",)): 0.1,
            ("router_coverage_alarm", ("good",)): 0,
            ("router_coverage_alarm", ("bad",)): 1,
            ("router_coverage_alarm", ("few",)): 0,
            ("router_coverage_overall", ()): 109 / 205,
            ("router_workers", ()): 3,
            ("router_execution_provider", ("CPUExecutionProvider",)): 1,
            ("router_execution_provider", ("CUDAExecutionProvider",)): 2,
            ("router_device_faults", ()): 4,
            ("router_stuck_workers_total", ()): 2,
            ("router_swaps_total", ("ACTIVATED",)): 5,
            ("router_swaps_total", ("REFUSED",)): 1,
            ("router_bundle_info", ("11", "running", "tiny 1")): 1,
            ("router_bundle_info", ("22", "previous", "tiny 2")): 1,
            ("router_bundle_info", ("22", "canary", "tiny 2")): 1,
            ("router_canary_share", ()): 0.25,
        }
        assert {key: found.get(key) for key in expected} == expected
        # Always what is so now.
        metrics.stats = metrics.stats + Stats(versions={"tiny 1": (1, 0, 1)})
        metrics.state = State(TWO, ONE)
        found = fetched(address)
        assert found["router_decisions_total", ("tiny 1",)] == 101
        assert ("router_bundle_info", ("22", "running", "tiny 2")) in found
        assert not any(name == "router_bundle_info" and "canary" in labels for name, labels in found)
    finally:
        end()
    with pytest.raises(urllib.error.URLError):
        fetched(address)


def test_before_anything_is_known_it_answers_too(unused_tcp_port_factory: Callable[[], int]) -> None:
    address = f"127.0.0.1:{unused_tcp_port_factory()}"
    end = publish(Metrics(0.9), address)
    try:
        found = fetched(address)
        assert found["router_coverage_overall", ()] == 1
        assert found["router_workers", ()] == 0
    finally:
        end()


def test_an_address_that_is_taken_is_named(metrics: Metrics, unused_tcp_port_factory: Callable[[], int]) -> None:
    address = f"127.0.0.1:{unused_tcp_port_factory()}"
    end = publish(metrics, address)
    try:
        with pytest.raises(ConfigError, match=f"metrics: cannot bind '{address}'"):
            publish(metrics, address)
    finally:
        end()


def test_prometheus_gets_what_the_observer_sees(unused_tcp_port_factory: Callable[[], int]) -> None:
    metrics = Metrics(alarm_below=0.9, unix=lambda: 1010.0)
    metrics.seen = Seen(
        (Tally("small", "prometheus", "a:1", ok=3, failed=1), Tally("large", "orca", "b:2", failed=9)),
        {"small": Telemetry(running=2.0, kv_used=0.5, observed_unix=1003.0)},
    )
    address = f"127.0.0.1:{unused_tcp_port_factory()}"
    end = publish(metrics, address)
    try:
        found = {name: value for name, value in fetched(address).items() if name[0].startswith("router_telemetry")}
    finally:
        end()
    assert found == {
        ("router_telemetry_reads_total", ("small", "ok", "prometheus", "a:1")): 3,
        ("router_telemetry_reads_total", ("small", "failed", "prometheus", "a:1")): 1,
        ("router_telemetry_reads_total", ("large", "ok", "orca", "b:2")): 0,
        ("router_telemetry_reads_total", ("large", "failed", "orca", "b:2")): 9,
        ("router_telemetry_age_seconds", ("small",)): 7,
        ("router_telemetry", ("small", "running")): 2,
        ("router_telemetry", ("small", "kv_used")): 0.5,
    }


def test_without_telemetry_its_metrics_are_not_there() -> None:
    assert not [family for family in Metrics(0.9).collect() if family.name.startswith("router_telemetry")]


def test_how_the_exchange_with_other_sidecars_fares_is_told(unused_tcp_port: int) -> None:
    metrics, address = Metrics(0.95, unix=lambda: 1007.0), f"127.0.0.1:{unused_tcp_port}"
    tally = PeersTally("redis://cache:6379", "default", "me", ok=4, failed=2, unreadable=3)
    end = publish(metrics, address)
    try:
        assert not any(name.startswith("router_peers") for name, _ in fetched(address))
        metrics.seen = Seen(peers=tally)
        before = {name: value for name, value in fetched(address).items() if name[0].startswith("router_peers")}
        tally.exchanged_unix, tally.peers, tally.oldest_seconds = 1000.0, 2, 0.25
        after = {name: value for name, value in fetched(address).items() if name[0].startswith("router_peers")}
    finally:
        end()
    counts = {
        ("router_peers_exchanges_total", ("ok",)): 4,
        ("router_peers_exchanges_total", ("failed",)): 2,
        ("router_peers_unreadable_total", ()): 3,
    }
    assert before == counts | {("router_peers", ()): 0}
    assert after == counts | {
        ("router_peers", ()): 2,
        ("router_peers_age_seconds", ()): 7,
        ("router_peers_oldest_seconds", ()): 0.25,
    }

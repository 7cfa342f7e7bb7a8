"""What Prometheus is told: of all workers together, since the start."""

import time
from collections.abc import Callable, Iterator
from math import isnan

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sidecar.control import ledger
from sidecar.control.exposition import families_of
from sidecar.control.observed import Seen
from sidecar.control.standing import Standing
from sidecar.coverage import ENOUGH, Covered
from sidecar.errors import ConfigError
from sidecar.fleet.peers.tally import PeersTally
from sidecar.stats import Stats


class Metrics(Standing):
    """Gives the present figures whenever they are asked for, from any thread.

    Args:
        alarm_below: a segment's coverage below this is an alarm.
        unix: Unix seconds.
    """

    def __init__(self, alarm_below: float, unix: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._alarm_below = alarm_below
        self._unix = unix

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client's Collector."""
        stats = self.stats
        decisions = CounterMetricFamily(
            "router_decisions", "Requests decided, by version of the bundle.", labels=["version"]
        )
        degraded = CounterMetricFamily(
            "router_degraded", "Of these, answered by the safe candidate for want of a score.", labels=["version"]
        )
        runs = CounterMetricFamily("router_runs", "Runs of the model.", labels=["version"])
        for version, counts in stats.versions.items():
            for family, value in zip((decisions, degraded, runs), counts, strict=True):
                family.add_metric([version], value)
        yield from (decisions, degraded, runs)
        drops = CounterMetricFamily(
            "router_drops", "Requests without a decision of their own, by reason.", labels=["reason"]
        )
        for reason in ("invalid", "shed", "over_budget", "expired", "cancelled"):
            drops.add_metric([reason], getattr(stats, reason))
        yield drops
        yield from _connections(stats)
        yield from _cache(stats)
        yield from self._coverage(stats)
        yield from _providers(stats)
        yield from ledger.decided(stats)
        yield from ledger.journalled(stats)
        yield GaugeMetricFamily("router_workers", "Workers that serve.", value=self.workers)
        yield CounterMetricFamily(
            "router_stuck_workers", "Workers that were killed since they were stuck.", value=self.stuck
        )
        swaps = CounterMetricFamily("router_swaps", "Changes of the bundle, by outcome.", labels=["outcome"])
        for outcome, number in self.swaps.items():
            swaps.add_metric([outcome], number)
        yield swaps
        running = GaugeMetricFamily(
            "router_bundle_info",
            "Bundles in memory: 1 for each role that one plays.",
            labels=["role", "version", "digest"],
        )
        for role in ("running", "previous", "canary"):
            target = getattr(self.state, role)
            if target is not None:
                running.add_metric([role, target.version, target.digest], 1)
        yield running
        yield GaugeMetricFamily(
            "router_canary_share", "Share of the traffic that a canary gets.", value=self.state.share
        )
        if self.seen.tallies:
            yield from self._telemetry(self.seen)
        if self.seen.importing is not None:
            yield from ledger.imported(self.seen.importing)
        yield from families_of(self.load)
        if self.seen.peers is not None:
            yield from _peers(self.seen.peers, self._unix())

    def _telemetry(self, seen: Seen) -> Iterator[Metric]:
        labels = ["candidate", "source", "target"]
        reads = CounterMetricFamily(
            "router_telemetry_reads",
            "Attempts to read a candidate's telemetry, by outcome.",
            labels=[*labels, "outcome"],
        )
        for tally in seen.tallies:
            of = [tally.candidate, tally.source, tally.target]
            reads.add_metric([*of, "ok"], tally.ok)
            reads.add_metric([*of, "failed"], tally.failed)
        yield reads
        age = GaugeMetricFamily(
            "router_telemetry_age_seconds", "Time since a candidate's load was observed.", labels=["candidate"]
        )
        figures = GaugeMetricFamily(
            "router_telemetry",
            "What was observed last of a candidate's load; what is unknown is left out.",
            labels=["candidate", "figure"],
        )
        for candidate, observed in seen.telemetry.items():
            age.add_metric([candidate], max(0.0, self._unix() - observed.observed_unix))
            for figure, value in observed._asdict().items():
                if not isnan(value) and figure != "observed_unix":
                    figures.add_metric([candidate, figure], value)
        yield from (age, figures)

    def _coverage(self, stats: Stats) -> Iterator[Metric]:
        share = GaugeMetricFamily(
            "router_coverage", "Share of the latest requests that were really scored, by segment.", labels=["segment"]
        )
        alarm = GaugeMetricFamily(
            "router_coverage_alarm", "Whether that share is below coverage.alarm_below.", labels=["segment"]
        )
        window = stats.covered()
        for segment, covered in window.items():
            share.add_metric([segment], covered.share)
            alarm.add_metric([segment], covered.total >= ENOUGH and covered.share < self._alarm_below)
        yield from (share, alarm)
        yield GaugeMetricFamily(
            "router_coverage_overall",
            "Share of the latest requests that were really scored.",
            value=sum(window.values(), Covered(0, 0)).share,
        )


def _peers(tally: PeersTally, unix: float) -> Iterator[Metric]:
    yield GaugeMetricFamily("router_peers", "Other sidecars of the group that count at present.", value=tally.peers)
    exchanges = CounterMetricFamily(
        "router_peers_exchanges", "Attempts to exchange live state with other sidecars, by outcome.", labels=["outcome"]
    )
    exchanges.add_metric(["ok"], tally.ok)
    exchanges.add_metric(["failed"], tally.failed)
    yield exchanges
    yield CounterMetricFamily(
        "router_peers_unreadable", "Messages of other sidecars that could not be read.", value=tally.unreadable
    )
    if tally.exchanged_unix:
        yield GaugeMetricFamily(
            "router_peers_age_seconds",
            "Time since live state was last exchanged with other sidecars.",
            value=max(0.0, unix - tally.exchanged_unix),
        )
    if tally.peers:
        yield GaugeMetricFamily(
            "router_peers_oldest_seconds",
            "How old the oldest of their counts was when they were added up last.",
            value=tally.oldest_seconds,
        )


def _connections(stats: Stats) -> Iterator[Metric]:
    yield GaugeMetricFamily("router_connections", "Connections that are open.", value=stats.connections)
    closed = CounterMetricFamily(
        "router_connections_closed", "Connections that were closed for a fault of theirs, by reason.", labels=["reason"]
    )
    for reason, (number,) in sorted(stats.closed.items()):
        closed.add_metric([reason], number)
    yield closed


def _cache(stats: Stats) -> Iterator[Metric]:
    lookups = CounterMetricFamily(
        "router_cache_lookups", "Requests looked up in the score cache, by result.", labels=["result"]
    )
    lookups.add_metric(["hit"], stats.cache_hits)
    lookups.add_metric(["miss"], stats.cache_misses)
    yield lookups
    yield CounterMetricFamily(
        "router_cache_evictions", "Entries of the score cache that had to make room.", value=stats.cache_evictions
    )
    yield GaugeMetricFamily(
        "router_cache_bytes", "Bytes that the entries of all workers' score caches hold.", value=stats.cache_bytes
    )


def _providers(stats: Stats) -> Iterator[Metric]:
    workers = GaugeMetricFamily(
        "router_execution_provider", "Workers whose bundle runs on this provider now.", labels=["provider"]
    )
    for provider, (number,) in stats.providers.items():
        workers.add_metric([provider], number)
    yield workers
    yield GaugeMetricFamily(
        "router_device_faults", "How often a device failed the bundles that run now.", value=stats.device_faults
    )


def publish(metrics: Metrics, address: str) -> Callable[[], None]:
    """Serves /metrics at HOST:PORT; gives a function that ends it.

    Raises:
        ConfigError: the address cannot be had.
    """
    host, _, port = address.rpartition(":")
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise ConfigError(f"metrics: cannot bind {address!r}: {error.strerror}; give another HOST:PORT.") from None

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end

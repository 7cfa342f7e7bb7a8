"""The fleet as the control process sees it, for Prometheus: candidates and budgets, from the shared table."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sidecar.config import Config
from sidecar.control.rising import Rising
from sidecar.fleet.allowances import Allowance, Allowances
from sidecar.fleet.figures import CandidateFigures, Figures
from sidecar.fleet.table import FleetTable
from sidecar.sensing import FLEET, configured

STATES = ("closed", "open", "silent", "half_open", "slow_start", "cooling")
GAUGES: Mapping[str, str] = {
    "in_flight": "Calls that it is at, of this sidecar and others.",
    "own_in_flight": "Calls of this sidecar that it is at: decided, and no outcome heard yet.",
    "tokens_in_flight": "Tokens expected in the calls of this sidecar that it is at.",
    "slots": "Calls that it answers at a time.",
    "wait_seconds": "Time that a call that came now would wait.",
    "first_token_seconds": "Time to the first token that is expected, without the wait.",
    "seconds_per_token": "Time for each further token that is expected.",
    "share": "Share of the requests that may choose it, which do as it comes back after a failure.",
    "recovery_seconds": "Time until it may be chosen again; 0: it may.",
    "error_rate": "Share of its recent calls that failed.",
    "telemetry_age_seconds": "Time since something was last heard of its load, by whatever way.",
}
COUNTERS: Mapping[str, str] = {
    "decisions": "Decisions that lead to a call of it.",
    "tokens": "Tokens expected in these, of prompt and answer.",
    "outcomes": "Calls of it that an outcome was heard of.",
    "faults": "Of these, failed ones.",
    "expired": "Calls of it that no outcome was heard of in time.",
    "suspicions": "Times that it was left alone since its calls hung.",
}
LIMITS = ("requests_per_minute", "tokens_per_minute", "usd_per_day")


class Load(NamedTuple):
    """The fleet at one moment; counters only ever grow.

    Attributes:
        candidates: whose names are the candidates'.
        budgets: in the order of the configuration.
    """

    candidates: Sequence[CandidateFigures]
    budgets: Sequence[Allowance]

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client's Collector."""
        yield from _candidates(self.candidates)
        if self.budgets:
            yield from _budgets(self.budgets)


class FleetWatch:
    """Reads the table now and then. Belongs to one thread.

    Args:
        config: as the workers'.
        runtime: where the table is.
        clock: monotonic seconds.
        unix: Unix seconds.

    Raises:
        ConfigError: it is not there.
    """

    def __init__(
        self,
        config: Config,
        runtime: Path,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        table = FleetTable.attach(runtime / FLEET)
        self._clock, self._unix = clock, unix
        self._figures = Figures(table, config.fleet, configured(config))
        self._allowances = Allowances(table, config.budgets) if config.budgets else None
        self._names = {entry.model or entry.name: entry.name for entry in config.candidates}
        self._rising = Rising()

    def look(self) -> Load:
        """The fleet now; costs a fraction of a millisecond."""
        now, rising = self._clock(), self._rising
        candidates = []
        for row in self._figures.read(now):
            totals: dict[str, Any] = {field: rising((row.name, field), getattr(row, field)) for field in COUNTERS}
            candidates.append(row._replace(name=self._names.get(row.name, row.name), **totals))
        found = self._allowances.read(now, self._unix()) if self._allowances else []
        budgets = [
            row._replace(
                requests=rising(("budget", row.config.name, "requests"), row.requests),
                tokens=rising(("budget", row.config.name, "tokens"), row.tokens),
            )
            for row in found
        ]
        return Load(candidates, budgets)


def _candidates(rows: Sequence[CandidateFigures]) -> Iterator[Metric]:
    for field, text in GAUGES.items():
        gauge = GaugeMetricFamily(f"router_candidate_{field}", f"{text} Left out while unknown.", labels=["candidate"])
        for row in rows:
            if isfinite(value := getattr(row, field)):
                gauge.add_metric([row.name], value)
        yield gauge
    for field, text in COUNTERS.items():
        counter = CounterMetricFamily(f"router_candidate_{field}", text, labels=["candidate"])
        for row in rows:
            counter.add_metric([row.name], getattr(row, field))
        yield counter
    state = GaugeMetricFamily(
        "router_candidate_state", "1 for the state that the candidate is in, else 0.", labels=["candidate", "state"]
    )
    for row in rows:
        for each in STATES:
            state.add_metric([row.name, each], float(row.state == each))
    yield state


def _budgets(rows: Iterable[Allowance]) -> Iterator[Metric]:
    labels = ["budget"]
    requests = CounterMetricFamily("router_budget_requests", "Requests that the budget covered.", labels=labels)
    tokens = CounterMetricFamily(
        "router_budget_tokens", "Tokens expected in these, of prompt and answer.", labels=labels
    )
    usd = GaugeMetricFamily(
        "router_budget_usd_today", "Expected cost of these since midnight UTC, where it is limited.", labels=labels
    )
    limit = GaugeMetricFamily(
        "router_budget_limit", "What the budget allows, by what it limits.", labels=["budget", "limit"]
    )
    exhausted = GaugeMetricFamily("router_budget_exhausted", "Whether the budget is used up.", labels=labels)
    recovery = GaugeMetricFamily(
        "router_budget_recovery_seconds", "Time until it allows another request; 0: it does.", labels=labels
    )
    for row in rows:
        name = row.config.name
        requests.add_metric([name], row.requests)
        tokens.add_metric([name], row.tokens)
        if row.config.usd_per_day is not None:
            usd.add_metric([name], row.usd_today)
        for kind in LIMITS:
            if (most := getattr(row.config, kind)) is not None:
                limit.add_metric([name, kind], most)
        exhausted.add_metric([name], float(row.recovery_seconds > 0.0))
        recovery.add_metric([name], row.recovery_seconds)
    yield from (requests, tokens, usd, limit, exhausted, recovery)

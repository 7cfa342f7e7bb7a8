"""The fleet's load as families of Prometheus metrics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sidecar.control.fleet import COUNTERS
from sidecar.control.standing import Load
from sidecar.fleet.allowances import Allowance
from sidecar.fleet.figures import CandidateFigures

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
LIMITS = ("requests_per_minute", "tokens_per_minute", "usd_per_day")


def families_of(load: Load) -> Iterator[Metric]:
    """The metrics of the candidates, and of the budgets if there are any."""
    yield from _candidates(load.candidates)
    if load.budgets:
        yield from _budgets(load.budgets)


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

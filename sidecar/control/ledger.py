"""Decisions, outcomes and the ledger, for Prometheus: from the workers' counts and the importer's."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sidecar.control.observed import Importing
from sidecar.stats import Stats


def decided(stats: Stats) -> Iterator[Metric]:
    """Why it was decided as it was, and what is only recorded."""
    reasons = CounterMetricFamily(
        "router_decision_reasons", "Decisions that gave this reason; one may give several.", labels=["reason"]
    )
    for reason, (number,) in stats.reasons.items():
        reasons.add_metric([reason], number)
    yield reasons
    yield CounterMetricFamily(
        "router_log_only_decisions", "Decisions that were only recorded (log-only mode).", value=stats.log_only
    )
    yield CounterMetricFamily(
        "router_log_only_disagreements",
        "Of these, the caller's own model is not the one that was chosen.",
        value=stats.disagreements,
    )
    yield CounterMetricFamily(
        "router_session_switches",
        "Turns of sessions that went to another candidate than the turn before.",
        value=stats.switches,
    )
    yield CounterMetricFamily(
        "router_session_forced_stays",
        "Turns that stayed with their candidate only since the session may not spend more on changes.",
        value=stats.forced_stays,
    )


def journalled(stats: Stats) -> Iterator[Metric]:
    """What was reported, and what the journals hold of it."""
    outcomes = CounterMetricFamily(
        "router_outcomes", "Outcomes that were reported, by what became of the report.", labels=["result"]
    )
    outcomes.add_metric(["accepted"], stats.outcomes_accepted)
    outcomes.add_metric(["invalid"], stats.outcomes_invalid)
    yield outcomes
    if not stats.ledger_dropped:
        return  # there is no ledger
    yield CounterMetricFamily(
        "router_ledger_decisions", "Decisions that were journalled.", value=stats.ledger_decisions
    )
    dropped = CounterMetricFamily(
        "router_ledger_dropped_decisions", "Decisions that were not journalled, by reason.", labels=["reason"]
    )
    for reason, (number,) in stats.ledger_dropped.items():
        dropped.add_metric([reason], number)
    yield dropped
    kept = CounterMetricFamily(
        "router_ledger_outcomes", "Outcomes that were acknowledged as durable, or could not be kept.", labels=["result"]
    )
    kept.add_metric(["acknowledged"], stats.ledger_acknowledged)
    kept.add_metric(["refused"], stats.ledger_refused)
    yield kept
    yield CounterMetricFamily(
        "router_ledger_syncs", "Groups of outcomes that were made durable together.", value=stats.ledger_syncs
    )
    yield GaugeMetricFamily(
        "router_ledger_waiting_outcomes", "Outcomes that wait to be made durable.", value=stats.ledger_waiting
    )


def imported(done: Importing) -> Iterator[Metric]:
    """What came from the journals into the store."""
    rows = CounterMetricFamily("router_ledger_imported_rows", "Rows that were added to the store.", labels=["table"])
    rows.add_metric(["decisions"], done.decisions)
    rows.add_metric(["outcomes"], done.outcomes)
    yield rows
    for name, text, value in (
        ("repeated_outcomes", "Outcomes that were in the store already.", done.repeated),
        ("unknown_decisions", "Outcomes whose decision was not in the store a minute later.", done.unknown),
        ("set_aside_records", "Records that the store refused or nobody could read.", done.set_aside),
        ("spoilt_segments", "Files of journals that were changed after they were written.", done.spoilt),
    ):
        yield CounterMetricFamily(f"router_ledger_{name}", text, value=value)
    yield GaugeMetricFamily(
        "router_ledger_backlog_bytes", "Bytes of journals that are not imported yet.", value=done.backlog_bytes
    )
    yield GaugeMetricFamily(
        "router_ledger_store_away",
        "Whether the store cannot be had; journals keep everything meanwhile.",
        value=done.away,
    )

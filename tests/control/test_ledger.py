from sidecar.control.ledger import decided, imported, journalled
from sidecar.control.observed import Importing
from sidecar.stats import Stats

STATS = Stats(
    reasons={"LOAD": (3,), "STICKY": (2,), "NOVEL": (0,)},
    log_only=5,
    disagreements=4,
    switches=6,
    forced_stays=7,
    outcomes_accepted=8,
    outcomes_invalid=9,
    ledger_decisions=10,
    ledger_dropped={"queue": (11,), "room": (0,)},
    ledger_acknowledged=12,
    ledger_refused=13,
    ledger_syncs=14,
    ledger_waiting=15,
)


def told(families: object) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families  # type: ignore[attr-defined]
        for sample in family.samples
    }


def test_prometheus_gets_why_it_was_decided_so() -> None:
    assert told(decided(STATS)) == {
        ("router_decision_reasons_total", "LOAD"): 3,
        ("router_decision_reasons_total", "STICKY"): 2,
        ("router_decision_reasons_total", "NOVEL"): 0,
        ("router_log_only_decisions_total",): 5,
        ("router_log_only_disagreements_total",): 4,
        ("router_session_switches_total",): 6,
        ("router_session_forced_stays_total",): 7,
    }


def test_prometheus_gets_what_was_reported_and_journalled() -> None:
    assert told(journalled(STATS)) == {
        ("router_outcomes_total", "accepted"): 8,
        ("router_outcomes_total", "invalid"): 9,
        ("router_ledger_decisions_total",): 10,
        ("router_ledger_dropped_decisions_total", "queue"): 11,
        ("router_ledger_dropped_decisions_total", "room"): 0,
        ("router_ledger_outcomes_total", "acknowledged"): 12,
        ("router_ledger_outcomes_total", "refused"): 13,
        ("router_ledger_syncs_total",): 14,
        ("router_ledger_waiting_outcomes",): 15,
    }


def test_without_a_ledger_its_metrics_are_not_there() -> None:
    assert {name[0] for name in told(journalled(Stats(outcomes_accepted=1)))} == {"router_outcomes_total"}


def test_prometheus_gets_what_was_imported() -> None:
    assert told(imported(Importing(1, 2, 3, 4, 5, 6, backlog_bytes=7, away=True))) == {
        ("router_ledger_imported_rows_total", "decisions"): 1,
        ("router_ledger_imported_rows_total", "outcomes"): 2,
        ("router_ledger_repeated_outcomes_total",): 3,
        ("router_ledger_unknown_decisions_total",): 4,
        ("router_ledger_set_aside_records_total",): 5,
        ("router_ledger_spoilt_segments_total",): 6,
        ("router_ledger_backlog_bytes",): 7,
        ("router_ledger_store_away",): 1,
    }

from collections.abc import Sequence
from typing import Any

import pytest

from sidecar.decisions import pairs
from sidecar.decisions.adoption import adoption
from sidecar.decisions.change import Adoption, Side
from sidecar.ledger.noted import Noted, Origin
from sidecar.ledger.outcome import Outcome
from sidecar.ledger.rows import first_id
from sidecar.ledger.store import Store, Which
from sidecar.routing.decision import Choice, Reason
from tests.decisions.conftest import log_only
from tests.ledger.made import NOW, imported, name, noted, said

HOUR_S = 3600.0


def found_in(
    store: Store, *batches: Noted, outcomes: Sequence[Outcome] = (), which: Which | None = None, **more: Any
) -> Adoption:
    store.add(imported(*batches, outcomes=outcomes))
    found = adoption(store, which or Which(), more.get("aliases", {}), more.get("most", 5))
    assert found is not None
    return found


def ids(number: int, apart_s: float = 1.0, at: float = NOW) -> list[str]:
    return [name(at + row * apart_s) for row in range(number)]


def test_what_would_change_is_counted_and_priced(store: Store) -> None:
    found = found_in(store, log_only(ids(4, HOUR_S), ["small", "acme/small-1", "large", "gpt-x"]))
    overall = found.overall
    assert (overall.decisions, overall.unknown, overall.differ, overall.inadmissible) == (4, 1, 2, 0)
    assert overall.share == pytest.approx(2 / 3)
    # One an hour, of which three quarters have a forecast.
    assert found.span_seconds == pytest.approx(3 * HOUR_S)
    assert found.requests_per_day == pytest.approx(24.0)
    assert overall.caller == Side(
        pytest.approx(1000 * (0.5 + 0.5 + 0.75) / 3),  # type: ignore[arg-type]
        pytest.approx(1000 * (0.25 + 0.25 + 0.5) / 3),  # type: ignore[arg-type]
        pytest.approx(4 / 3),  # type: ignore[arg-type]
        pytest.approx(2000.0),  # type: ignore[arg-type]
        pytest.approx(0.75 * 24.0 * 1.75 / 3),  # type: ignore[arg-type]
        pytest.approx(0.75 * 24.0 / 3),  # type: ignore[arg-type]
    )
    assert overall.router == Side(750.0, 500.0, 2.0, 4000.0, 0.75 * 24.0 * 0.75, 0.75 * 24.0 * 0.5)
    assert found.unknown == {"gpt-x": 1}
    (move,) = found.moves
    assert (move.current, move.chosen, move.decisions, move.share) == ("small", "large", 2, 1.0)
    assert (move.acceptable_per_1k, move.usd_per_1k, move.seconds, move.utility_usd_per_1k) == (250, 250, 1, 3000)


def test_segments_are_kept_apart_and_add_up(store: Store) -> None:
    found = found_in(
        store,
        log_only(ids(3, HOUR_S), ["small"] * 3, segment="a"),
        log_only(ids(2, HOUR_S), ["large", "gpt-x"], segment="b"),
    )
    assert [(one.segment, one.decisions, one.unknown, one.differ) for one in found.segments] == [
        ("a", 3, 0, 3),
        ("b", 2, 1, 0),
    ]
    per_day = [one.router.usd_per_day for one in found.segments if one.router and one.router.usd_per_day]
    assert found.overall.router is not None
    assert sum(per_day) == pytest.approx(found.overall.router.usd_per_day)


def test_applied_decisions_are_no_part_of_it(store: Store) -> None:
    store.add(imported(noted(ids(3))))
    assert adoption(store, Which(), {}, 5) is None
    assert found_in(store, log_only(ids(1), ["small"])).overall.decisions == 1


def test_pages_and_sets_of_candidates_make_no_difference(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Origin(("demo", "4", "cd" * 32), ("large", "small"), ("acme/large-2", "acme/small-1"))
    batches = [
        log_only(ids(3), ["small", "large", "gpt"], chosen=1),
        log_only(ids(4, at=NOW + 0.5), ["small", "small", "gpt", "large"], origin=other, chosen=0),
    ]
    whole = found_in(store, *batches)
    monkeypatch.setattr(pairs, "PAGE", 2)
    assert adoption(store, Which(), {}, 5) == whole
    assert whole.overall.decisions == 7
    assert {(move.current, move.chosen, move.decisions) for move in whole.moves} == {("small", "large", 3)}


def test_an_alias_of_the_configuration_is_known(store: Store) -> None:
    found = found_in(store, log_only(ids(1), ["mini"]), aliases={"mini": "small", "other": "none"})
    assert (found.overall.unknown, found.overall.differ) == (0, 1)


def test_the_largest_differences_come_first_whichever_way_they_go(store: Store) -> None:
    names = ids(4)
    utility = [[0.0, 1.0], [9.0, 0.0], [0.0, 3.0], [0.0, 2.0]]
    found = found_in(store, log_only(names, ["small"] * 4, utility=utility), most=3)
    assert [(one.id, one.utility_usd) for one in found.singles] == [(names[1], -9.0), (names[2], 3.0), (names[3], 2.0)]
    first = found.singles[0]
    assert (first.current, first.chosen, first.segment, first.quality, first.cost_usd) == (
        "small",
        "large",
        "shop",
        0.25,
        0.25,
    )


def test_a_caller_whose_model_was_not_admissible_is_counted(store: Store) -> None:
    found = found_in(store, log_only(ids(2), ["small", "large"], ranking=[1]))
    assert (found.overall.differ, found.overall.inadmissible) == (1, 1)
    assert [single.admissible for single in found.singles] == [False]


def test_only_unknown_models_leave_no_forecast(store: Store) -> None:
    found = found_in(store, log_only(ids(2), ["gpt-x", "gpt-y"]))
    assert (found.overall.caller, found.overall.router, found.overall.share) == (None, None, 0.0)
    assert (found.moves, found.singles, found.compared) == ([], [], [])


def test_what_was_measured_of_the_callers_models_is_compared_with_the_forecast(store: Store) -> None:
    names = ids(5)
    found = found_in(
        store,
        log_only(names, ["small", "acme/small-1", "large", "small", "gpt-x"]),
        outcomes=[
            said(names[0], "judge", quality=1.0),
            said(names[0], cost_usd=0.5, latency_ms=3000.0),
            said(names[1], cost_usd=1.0, error="timeout"),  # tells nothing of the cost of an answer
            said(names[2], quality=0.75),
            said(names[3], model="acme/large-2", quality=0.0),  # the gateway used another one
            said(names[4], quality=0.0),
        ],
    )
    assert found.elsewhere == 1
    assert [(row.model, row.measure, row.requests, row.difference) for row in found.compared] == [
        ("", "quality", 2, 0.25),
        ("large", "quality", 1, 0.0),
        ("small", "quality", 1, 0.5),
        ("", "cost_usd", 1, 0.25),
        ("small", "cost_usd", 1, 0.25),
        ("", "seconds", 1, 2.0),
        ("small", "seconds", 1, 2.0),
    ]


def test_what_is_asked_for_is_what_counts(store: Store) -> None:
    names = ids(3)
    early = Which(before=first_id(NOW + 1.0))
    assert found_in(store, log_only(names, ["small"] * 3), which=early).overall.decisions == 1
    found = adoption(store, Which(since=first_id(NOW + 1.0)), {}, 5)
    assert found is not None
    assert (found.overall.decisions, found.first[:19], found.last[:19]) == (
        2,
        "2027-01-15T08:00:01",
        "2027-01-15T08:00:02",
    )


def test_words_of_callers_beyond_measure_are_put_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.decisions.adoption.MOST_WORDS", 2)
    batches = [log_only(ids(1), [f"gpt-{each}"], segment=f"s{each}") for each in range(5)]
    found = found_in(store, *batches)
    assert sorted(one.segment for one in found.segments) == ["(others)", "s0", "s1"]
    assert found.overall.decisions == 5
    assert found.unknown["(others)"] == 3


def test_of_one_decision_there_is_no_rate(store: Store) -> None:
    found = found_in(store, log_only(ids(1), ["small"]))
    assert found.requests_per_day is None
    assert found.overall.caller is not None
    assert found.overall.caller.usd_per_day is None


@pytest.mark.parametrize(("span_s", "told"), [(3599.0, None), (3600.0, 48.0)])
def test_of_less_than_an_hour_no_day_is_foretold(store: Store, span_s: float, told: float | None) -> None:
    found = found_in(store, log_only(ids(3, span_s / 2), ["small"] * 3))
    assert found.span_seconds == pytest.approx(span_s)
    assert found.requests_per_day == told
    assert found.overall.caller is not None
    assert found.overall.caller.usd_per_day == (None if told is None else pytest.approx(0.25 * told))
    assert found.overall.caller.usd_per_1k == pytest.approx(250.0)


def test_the_largest_differences_are_found_on_whatever_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "PAGE", 1)
    names = ids(4, apart_s=0.0)  # of one millisecond: only the last bytes of their ids differ
    utility = [[0.0, 2.0], [0.0, 1.0], [0.0, 4.0], [0.0, 3.0]]
    found = found_in(store, log_only(names, ["small"] * 4, utility=utility), most=2)
    assert [(one.id, one.utility_usd) for one in found.singles] == [(names[2], 4.0), (names[3], 3.0)]
    assert (found.overall.decisions, found.requests_per_day) == (4, None)


def test_applied_decisions_are_compared_with_one_candidate_for_all(store: Store) -> None:
    applied, ours = ids(3), ids(1)
    store.add(
        imported(
            made_for(applied, chosen=[0, 1, 1]),
            log_only(ours, ["small"]),
            outcomes=[
                said(applied[0], quality=1.0),  # of the choice, which is what the callers got
                said(applied[1], quality=0.5, model="acme/small-1"),  # the gateway fell back
            ],
        )
    )
    found = adoption(store, Which(), {"big": "large"}, 5, "big")
    assert found is not None
    overall = found.overall
    assert (overall.decisions, overall.unknown, overall.differ) == (3, 0, 1)
    assert (overall.caller, overall.router) == (
        Side(750.0, 500.0, 2.0, 4000.0, None, None),
        Side(2000 / 3, 1250 / 3, 5 / 3, 3000.0, None, None),
    )
    assert [(move.current, move.chosen, move.usd_per_1k) for move in found.moves] == [("large", "small", -250.0)]
    assert found.elsewhere == 1
    assert [(one.model, one.predicted, one.measured) for one in found.compared] == [("", 0.5, 1.0), ("small", 0.5, 1.0)]
    assert adoption(store, Which(since=first_id(NOW + 60)), {}, 5, "large") is None


def test_nothing_is_foretold_of_a_candidate_that_was_none(store: Store) -> None:
    store.add(imported(made_for(ids(2), chosen=[0, 1])))
    found = adoption(store, Which(), {}, 5, "gpt-x")
    assert found is not None
    assert (found.overall.unknown, found.overall.caller, found.unknown) == (2, None, {"gpt-x": 2})


def made_for(names: Sequence[str], chosen: Sequence[int]) -> Noted:
    """Applied decisions with the figures of `log_only`."""
    batch = log_only(names, [""] * len(names))
    asks = [ask._replace(log_only=False) for ask in batch.asks]
    outcomes = [Choice([index, 1 - index], (Reason.LEARNED,), 0.5) for index in chosen]
    return batch._replace(asks=asks, outcomes=outcomes)

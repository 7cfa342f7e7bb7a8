import pytest

from sidecar.decisions.latest import LOOK_BACK_S, Follower, latest, whole
from sidecar.ledger.store import Store, Which
from tests.decisions.conftest import log_only
from tests.ledger.made import NOW, imported, name, noted, said


def test_the_newest_come_first_with_what_became_of_them(store: Store) -> None:
    names = [name(NOW + row) for row in range(4)]
    outcomes = [said(names[3], "judge", quality=0.75), said(names[3], latency_ms=1500.0, cost_usd=0.5, error="")]
    store.add(imported(noted(names), outcomes=outcomes))
    found = latest(store, Which(), 2)
    assert [told.id for told in found] == [names[3], names[2]]
    told = found[0]
    assert (told.time, told.segment, told.policy, told.applied) == (
        "2027-01-15T08:00:03.000Z",
        "shop",
        "balanced",
        True,
    )
    assert (told.chosen.candidate, told.chosen.model, told.chosen.admissible) == ("small", "acme/small-1", True)
    assert (told.reasons, told.novelty, told.propensity) == (["LEARNED", "NOVEL"], 0.96, 1.0)
    assert told.outcome is not None
    assert (told.outcome.quality, told.outcome.quality_source, told.outcome.model) == (0.75, "judge", "small")
    assert (told.outcome.latency_ms, told.outcome.cost_usd, told.outcome.error, told.outcome.reports) == (
        1500,
        0.5,
        "",
        2,
    )
    assert found[1].outcome is None


def test_one_decision_is_told_with_all_candidates_and_all_outcomes(store: Store) -> None:
    one = name(NOW)
    kept = imported(
        log_only([one], ["small"], ranking=[1]),
        outcomes=[
            said(one, quality=0.5, labels={"a": "b"}),
            said(one, "human", quality=0.25),
            said(name(NOW), quality=1),
        ],
        keep_prompt=lambda _: "kept",
    )
    store.add(kept)
    found = whole(store, bytes.fromhex(one))
    assert found is not None
    assert [(each.candidate, each.admissible, each.quality) for each in found.candidates] == [
        ("large", True, 0.75),
        ("small", False, 0.5),
    ]
    assert (found.decision.applied, found.decision.current_model, found.prompt_chars) == (False, "small", 4)
    assert found.bundle == ("demo", "3", "ab" * 32)
    assert [(report["source"], report["quality"]) for report in found.outcomes] == [("gateway", 0.5), ("human", 0.25)]
    assert found.outcomes[0]["labels"] == {"a": "b"}
    assert found.answers["small"].quality == 0.25
    assert whole(store, bytes.fromhex(name(NOW))) is None


def test_whoever_follows_is_told_each_decision_once_also_those_that_come_out_of_order(store: Store) -> None:
    first, second, third = (name(NOW + row) for row in range(3))
    store.add(imported(noted([first])))
    follower = Follower(store, Which())
    assert [told.id for told in follower.first(10, NOW)] == [first]
    assert follower.new(NOW + 1) == []
    store.add(imported(noted([third])))
    assert [told.id for told in follower.new(NOW + 2)] == [third]
    store.add(imported(noted([second])))
    assert [told.id for told in follower.new(NOW + 2)] == [second]
    assert follower.new(NOW + 2) == []


def test_whoever_follows_begins_with_the_latest_in_order_of_time(store: Store) -> None:
    names = [name(NOW - 10 * LOOK_BACK_S + row) for row in range(5)]
    store.add(imported(noted(names)))
    follower = Follower(store, Which())
    assert [told.id for told in follower.first(3, NOW)] == names[2:]
    assert follower.new(NOW) == []


@pytest.mark.parametrize(
    ("which", "rows"),
    [
        (Which(), "abcde"),
        (Which(segment="one"), "ac"),
        (Which(segment=""), ""),
        (Which(model="acme/large-2"), "de"),
        (Which(model="large"), "de"),
        (Which(model="small"), "abcd"),
        (Which(model="gpt-x"), "e"),
        (Which(model="nobody"), ""),
        (Which(log_only=True), "de"),
        (Which(log_only=True, model="small"), "d"),
        (Which(log_only=True, segment="one"), ""),
    ],
)
def test_only_what_is_asked_for_is_selected(store: Store, which: Which, rows: str) -> None:
    ids = dict(zip("abcde", (name(NOW + row) for row in range(5)), strict=True))
    store.add(
        imported(
            noted([ids["a"]], segment="one"),
            noted([ids["b"]], segment="two"),
            noted([ids["c"]], segment="one"),
            log_only([ids["d"], ids["e"]], ["small", "gpt-x"], segment="two"),
        )
    )
    assert [one.decision_id.hex() for one in store.select(which, 9)] == [ids[row] for row in rows]
    assert [one.decision_id.hex() for one in store.select(which, 9, newest=True)] == [ids[row] for row in rows[::-1]]
    assert [one.decision_id.hex() for one in store.select(which, 1, newest=True)] == [ids[row] for row in rows[-1:]]


def test_what_is_selected_carries_neither_prompt_nor_embedding(store: Store) -> None:
    store.add(imported(noted([name(NOW)]), keep_prompt=lambda prompt: prompt))
    assert [(one.prompt, one.embedding) for one in store.select(Which(), 1)] == [(None, None)]
    (found,) = store.find([store.select(Which(), 1)[0].decision_id])
    assert (found.prompt, found.embedding is not None) == ("the secret prompt 0", True)


def test_outcomes_and_decisions_of_many_ids_are_found(store: Store) -> None:
    names = [name(NOW + row) for row in range(1200)]
    store.add(imported(noted(names[::2], width=0), outcomes=[said(each, quality=1.0) for each in names]))
    ids = [bytes.fromhex(each) for each in names]
    assert [report.decision_id for report in store.outcomes_of(ids)] == ids
    assert store.known(ids) == set(ids[::2])
    assert (store.outcomes_of([]), store.known([])) == ([], set())

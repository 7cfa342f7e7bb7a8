"""What holds for both stores."""

import threading
from collections.abc import Callable

import pytest

from sidecar.ledger import schema
from sidecar.ledger.records import Drops
from sidecar.ledger.rows import Added, Import, first_id
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import Store, StoreError, Unacceptable, open_store
from sidecar.routing.exclusion import Exclusion
from tests.ledger.made import NOW, ORIGIN, imported, name, noted, said

ALL = (bytes(16), b"\xff" * 16)


def test_a_decision_comes_back_as_it_was_made(store: Store) -> None:
    ids = [name(), name()]
    batch = noted(
        ids, chosen=1, current=["gpt", ""], sessions=["s1", ""], applied=[False, True], propensity=[0.25, 1.0]
    )
    assert store.add(imported(batch, keep_prompt=lambda prompt: prompt.upper())) == Added(2, 0)
    first, second = store.decisions(*ALL, 10)
    assert [first.decision_id.hex(), second.decision_id.hex()] == ids
    assert first.decided_at == NOW
    assert (first.segment, first.session_id, first.policy) == ("shop", "s1", "balanced")
    assert (first.answer_value_usd, first.second_value_usd) == (0.01, 0.002)
    assert (first.bundle, first.candidates, first.models) == ORIGIN[:3]
    assert (first.candidate, first.applied, first.current_model, first.propensity) == ("large", False, "gpt", 0.25)
    assert (first.reasons, first.novelty, first.prompt_tokens) == ("LEARNED,NOVEL", 0.96, 12)
    quality_cost_seconds_utility = [0.2, 0.3, 0.002, 0.003, 2.0, 3.0, 0.02, 0.03]
    assert second.expectations().ravel().tolist() == pytest.approx(quality_cost_seconds_utility)
    assert second.admissible() == [1, 0]
    assert second.embedding == b"\x00\x38\x00\x39\x00\x3a\x00\x3b"  # 0.5, 0.625, 0.75, 0.875 as float16
    assert (second.prompt, second.applied, second.served()) == ("THE SECRET PROMPT 1", True, "acme/large-2")


def test_why_candidates_could_not_be_chosen_comes_back(store: Store) -> None:
    origin = ORIGIN._replace(offered=(True, False))
    ids = [name(), name(), name()]
    store.add(imported(noted(ids[:1], origin=origin, ranking=[0])))
    strange = imported(noted(ids[1:2]))
    strange.decisions[0] = (*strange.decisions[0][:-1], bytes([Exclusion.BUDGET, 200]))  # of a later version
    store.add(strange)
    store.add(imported(noted(ids[2:])))
    found = {decision.decision_id.hex(): decision.excluded() for decision in store.decisions(*ALL, 10)}
    assert [found[each] for each in ids] == [
        [Exclusion.NONE, Exclusion.NOT_OFFERED],
        [Exclusion.BUDGET, None],
        [Exclusion.NONE, Exclusion.NONE],
    ]


def test_what_is_not_known_stays_empty(store: Store) -> None:
    store.add(imported(noted([name()], width=0)))
    (decision,) = store.decisions(*ALL, 10)
    assert (decision.prompt, decision.embedding, decision.session_id, decision.current_model) == (None, None, "", "")


def test_an_outcome_comes_back_as_it_was_said(store: Store) -> None:
    known, bare = name(), name()
    store.add(
        imported(
            outcomes=[
                said(known, "judge", observed=NOW - 5, key="k", model="m", shadow=True, quality=0.5, latency_ms=12.5,
                     ttft_ms=3.25, input_tokens=10, output_tokens=20, cached_tokens=5, cost_usd=0.125, error="429",
                     labels={"a": "b"}),
                said(bare, "user", quality=1.0),
            ]
        )
    )  # fmt: skip
    full, partial = store.outcomes(*ALL)
    assert full[1:] == (
        bytes.fromhex(known), "k", "judge", 3, NOW + 1, NOW - 5, "m", True, 0.5, 12.5, 3.25, 10, 20, 5, 0.125, "429",
        '{"a":"b"}',
    )  # fmt: skip
    assert partial[1:2] == (bytes.fromhex(bare),)
    assert partial[5:] == (NOW + 1, NOW + 1, None, False, 1.0, *[None] * 8)
    assert partial.seq > full.seq


def test_the_same_again_changes_nothing(store: Store) -> None:
    ids = [name(), name()]
    outcomes = [said(ids[0], key="k", quality=1.0), said(ids[1], "user", quality=0.0)]
    assert store.add(imported(noted(ids), outcomes=outcomes)) == Added(2, 2)
    changed = [said(ids[0], key="k", quality=0.0), *outcomes, *outcomes]
    assert store.add(imported(noted(ids, segment="other"), outcomes=changed)) == Added(0, 0)
    assert [decision.segment for decision in store.decisions(*ALL, 10)] == ["shop", "shop"]
    assert [outcome.quality for outcome in store.outcomes(*ALL)] == [1.0, 0.0]


def test_rows_are_found_by_time_and_by_id(store: Store) -> None:
    ids = [name(NOW + second) for second in range(5)]
    store.add(imported(noted(ids), outcomes=[said(each, received=NOW + 9, error="") for each in ids]))
    pages = store.decisions(first_id(NOW + 1), first_id(NOW + 4), 2)
    assert [decision.decision_id.hex() for decision in pages] == ids[1:3]
    wanted = [bytes.fromhex(each) for each in (ids[4], ids[0], name())]
    assert {decision.decision_id.hex() for decision in store.find(wanted)} == {ids[0], ids[4]}
    assert store.find([]) == []
    between = store.outcomes(bytes.fromhex(ids[1]), bytes.fromhex(ids[2]))
    assert [outcome.decision_id.hex() for outcome in between] == ids[1:3]


def test_more_ids_than_a_statement_takes_are_found_too(store: Store) -> None:
    ids = [name() for _ in range(1203)]
    store.add(imported(noted(ids)))
    assert len(store.find([bytes.fromhex(each) for each in ids])) == 1203


def test_outcomes_come_in_order_of_their_decisions_however_they_came_in(store: Store) -> None:
    ids = [name(NOW + second) for second in range(4)]
    for each in (*reversed(ids), *ids):
        for source in ("user", "judge"):
            store.add(imported(outcomes=[said(each, source, received=NOW + 9, quality=1.0)]))
    found = store.outcomes(*ALL)
    assert [outcome.decision_id.hex() for outcome in found] == [each for each in ids for _ in range(2)]
    assert [outcome.source for outcome in found] == ["user", "judge"] * 4


def test_a_store_whose_first_import_was_refused_takes_the_next(store: Store) -> None:
    good, bad = imported(noted([name()])), imported(noted([name()]))
    bad.decisions = [(None, *bad.decisions[0][1:])]
    with pytest.raises(Unacceptable):
        store.add(bad)
    assert store.add(good) == Added(1, 0)


def test_outcomes_of_unknown_decisions_are_kept_and_counted_until_the_decision_comes(store: Store) -> None:
    late, never = name(), name()
    store.add(imported(outcomes=[said(late, quality=1.0), said(never, quality=0.0)]))
    assert (store.stat().outcomes, store.stat().unknown) == (2, 2)
    store.add(imported(noted([late])))
    assert (store.stat().outcomes, store.stat().unknown) == (2, 1)


def test_it_says_what_it_holds(store: Store) -> None:
    assert store.stat()[:6] == (0, 0, 0, None, None, {})
    batch = imported(noted([name(NOW), name(NOW + 60)]))
    for at, amount, reason in ((1.0, 3, "queue"), (2.0, 4, "queue"), (2.0, 5, "room")):
        batch.add(Drops(at=at, amount=amount, reason=reason, writer="w"))
    store.add(batch)
    store.add(batch)
    assert store.stat()[:6] == (2, 0, 0, NOW, NOW + 60, {"queue": 7, "room": 5})
    assert store.stat().used_bytes > 0


def test_positions_are_kept_with_the_records_or_not_at_all(store: Store) -> None:
    store.add(Import(positions={"a": 7, "b": 1}))
    store.add(Import(positions={"a": 9}))
    assert store.positions() == {"a": 9, "b": 1}
    store.forget(["b", "c"])
    assert store.positions() == {"a": 9}
    spoilt = imported(noted([name()]))
    spoilt.decisions.append((None, *spoilt.decisions[0][1:]))  # no id
    spoilt.positions["a"] = 11
    with pytest.raises(Unacceptable):
        store.add(spoilt)
    assert (store.positions(), store.stat().decisions) == ({"a": 9}, 0)
    assert store.add(imported(noted([name()]))) == Added(1, 0)


def test_text_with_a_nul_holds_nothing_up(store: Store) -> None:
    assert store.add(imported(noted([name()], segment="a\0b"))) == Added(1, 0)
    assert store.decisions(*ALL, 1)[0].segment in ("a\0b", "a\N{REPLACEMENT CHARACTER}b")


def test_what_is_old_expires_bit_by_bit_with_its_outcomes(store: Store) -> None:
    ids = [name(NOW + second) for second in range(6)]
    store.add(imported(noted(ids), outcomes=[said(each, received=NOW + 9, quality=1.0) for each in ids]))
    before = first_id(NOW + 4)
    assert [store.expire(before, 3), store.expire(before, 3), store.expire(before, 3)] == [6, 2, 0]
    assert [decision.decision_id.hex() for decision in store.decisions(*ALL, 10)] == ids[4:]
    assert [outcome.decision_id.hex() for outcome in store.outcomes(*ALL)] == ids[4:]
    store.reclaim()


def test_a_share_of_what_it_holds_lies_before_the_border(store: Store) -> None:
    assert store.expire(store.border(1.0), 9) == 0
    ids = [name(NOW + second) for second in range(4)]
    orphan = name(NOW - 100)
    store.add(imported(noted(ids), outcomes=[said(each, received=NOW + 9, error="") for each in (orphan, *ids)]))
    assert store.border(0.0) == bytes.fromhex(orphan)
    assert store.border(0.4) == bytes.fromhex(ids[1])
    assert store.border(0.41) == bytes.fromhex(ids[2])
    assert store.expire(store.border(0.4), 9) == 1 + 2  # the first decision with its outcome, and the orphan
    assert store.expire(store.border(1.0), 9) == 6
    assert store.stat()[:2] == (0, 0)


def test_of_many_decisions_without_outcomes_the_oldest_lie_before_the_border(store: Store) -> None:
    ids = [name(NOW + second) for second in range(4)]
    store.add(imported(noted(ids), outcomes=[said(ids[3], received=NOW + 9, error="")]))
    assert store.border(0.5) == bytes.fromhex(ids[2])


def test_it_grows_and_shrinks(store: Store) -> None:
    store.add(imported(noted([name() for _ in range(500)], width=256)))
    full = store.used_bytes()
    assert 500 * 512 < full < 500 * 4096
    assert store.expire(store.border(0.8), 500) == 400
    assert store.used_bytes() < full * 0.6


def test_a_sound_store_verifies_and_a_spoilt_one_says_what_is_wrong(store: Store) -> None:
    store.add(imported(noted([name()]), outcomes=[said(name(), quality=1.0)]))
    assert store.verify() == []
    wrong = imported(noted([name()]))
    row = list(wrong.decisions[0])
    row[schema.DECISIONS.index("expected")] = b"short"
    row[schema.DECISIONS.index("propensity")] = 0.0
    wrong.decisions = [tuple(row)]
    wrong.bundles = {}
    row[schema.DECISIONS.index("bundle_id")] = 5
    wrong.decisions = [tuple(row)]
    store.add(wrong)
    faults = "\n".join(store.verify())
    assert "1 decisions name a bundle that is not there" in faults
    assert "1 decisions have expectations of a wrong length" in faults
    assert "propensity" in faults


def test_migrating_twice_is_migrating_once(store: Store, connect: Callable[[], Store]) -> None:
    assert store.migrate() == schema.VERSION
    assert connect().migrate() == schema.VERSION
    connect().check()


def test_sidecars_that_start_at_once_make_the_tables_once(config: LedgerConfig) -> None:
    faults: list[BaseException] = []
    together = threading.Barrier(4)

    def start() -> None:
        try:
            store = open_store(config)
            together.wait()
            store.migrate()
            store.close()
        except BaseException as error:  # noqa: BLE001 - told by the test
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_store_of_version_1_is_brought_to_the_present_with_its_rows(
    connect: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = imported(noted([name()]), outcomes=[said(name(), quality=0.5)])
    with monkeypatch.context() as then:
        then.setattr(schema, "VERSION", 1)
        later = ("ranking", "exclusions")
        then.setattr(schema, "DECISIONS", tuple(each for each in schema.DECISIONS if each not in later))
        then.setattr(schema, "OUTCOMES", tuple(each for each in schema.OUTCOMES if each != "shadow"))
        old = connect()
        assert old.migrate() == 1
        ranking, shadow = 17, 7
        kept = [old._rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("decisions", "outcomes")]  # type: ignore[attr-defined]  # noqa: S608
        assert kept == [0, 0]
        decision = one.decisions[0][:ranking] + one.decisions[0][ranking + 1 : -1]
        outcome = one.outcomes[0][:shadow] + one.outcomes[0][shadow + 1 :]
        for table, columns, row in (
            ("bundles", schema.BUNDLES, next(iter(one.bundles.values()))),
            ("candidate_sets", schema.CANDIDATE_SETS, next(iter(one.candidate_sets.values()))),
            ("decisions", schema.DECISIONS, decision),
            ("outcomes", schema.OUTCOMES, outcome),
        ):
            values = ", ".join("?" * len(columns))
            old._run([(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", row)])  # type: ignore[attr-defined]  # noqa: S608
        old.close()
    store = connect()
    with pytest.raises(StoreError, match=f"has schema 1, and this program needs {schema.VERSION}"):
        store.check()
    assert store.migrate() == schema.VERSION == 4
    (first,) = store.decisions(*ALL, 10)
    assert (first.candidate, first.ranking, first.admissible(), first.excluded()) == ("small", None, [], None)
    assert [(outcome.quality, outcome.shadow) for outcome in store.outcomes(*ALL)] == [(0.5, False)]
    assert store.add(imported(noted([name()]), outcomes=[said(name(), error="")])) == Added(1, 1)
    second = store.decisions(*ALL, 10)[1]
    assert (second.admissible(), second.excluded()) == ([0, 1], [Exclusion.NONE] * 2)


def test_a_newer_schema_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = schema.VERSION
    monkeypatch.setattr(schema, "VERSION", 1)
    for attempt in (store.migrate, store.check):
        with pytest.raises(StoreError, match=f"has schema {newer}, and this program knows 1; run the newer"):
            attempt()

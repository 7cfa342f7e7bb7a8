import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar.ledger import sqlite as module
from sidecar.ledger.sqlite import SqliteStore
from sidecar.ledger.store import StoreAway, StoreError, Which
from tests.ledger.made import imported, name, noted


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def opened(file: Path) -> SqliteStore:
    store = SqliteStore(str(file))
    store.migrate()
    return store


def test_only_its_owner_can_read_it_whatever_the_umask(file: Path) -> None:
    before = os.umask(0)
    try:
        store = opened(file)
        store.add(imported(noted([name()])))
        modes = {each.name: each.stat().st_mode & 0o777 for each in file.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    store.close()


def test_a_commit_is_on_the_disk(file: Path) -> None:
    store = opened(file)
    assert store._rows("PRAGMA synchronous") == [(2,)]
    assert store._rows("PRAGMA journal_mode") == [("wal",)]
    store.close()


def test_what_is_reclaimed_makes_the_file_smaller(file: Path) -> None:
    store = opened(file)
    store.add(imported(noted([name() for _ in range(500)], width=512)))
    store._rows("PRAGMA wal_checkpoint(TRUNCATE)")
    full = file.stat().st_size
    while store.expire(store.border(0.9), 100):
        pass
    assert not store.reclaim()
    store._rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert file.stat().st_size < full / 2
    store.close()


def test_space_is_given_back_in_bites_but_for_a_tenth(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECLAIM_PAGES", 8)
    store = opened(file)
    store.add(imported(noted([name() for _ in range(500)], width=512)))
    while store.expire(store.border(0.9), 100):
        pass

    def free() -> float:
        return float(store._rows("PRAGMA freelist_count")[0][0] / store._rows("PRAGMA page_count")[0][0])

    assert free() > 0.5
    bites = 1
    while store.reclaim():
        bites += 1
    assert bites > 5
    assert 0.0 < free() < 0.2
    assert not store.reclaim()
    store.close()


@pytest.mark.parametrize(
    ("which", "index"),
    [
        (Which(segment="rare"), "decisions_of_segment"),
        (Which(log_only=True), "decisions_unapplied"),
        (Which(), "PRIMARY KEY"),
    ],
)
@pytest.mark.parametrize("newest", [False, True])
def test_who_asks_for_a_few_decisions_does_not_read_through_all(
    file: Path, monkeypatch: pytest.MonkeyPatch, which: Which, index: str, *, newest: bool
) -> None:
    store = opened(file)
    ask = store._rows
    plans: list[str] = []

    def explained(statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        plans.extend(str(row[3]) for row in ask(f"EXPLAIN QUERY PLAN {statement}", values))
        return ask(statement, values)

    monkeypatch.setattr(store, "_rows", explained)
    assert store.select(which, 20, newest=newest) == []
    assert index in next(plan for plan in plans if " d " in plan)
    assert not any("TEMP B-TREE" in plan for plan in plans)
    store.close()


def test_others_read_while_one_writes(file: Path) -> None:
    writer, reader = opened(file), SqliteStore(str(file))
    with writer._transaction() as run:
        run("DELETE FROM decisions")
        assert reader.stat().decisions == 0
    writer.close()
    reader.close()


def test_a_store_that_another_holds_is_away_not_broken(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCKED_S", 0.01)
    one, other = opened(file), opened(file)
    with one._transaction(), pytest.raises(StoreAway, match="locked"):
        other.add(imported(noted([name()])))
    assert other.add(imported(noted([name()]))).decisions == 1
    one.close()
    other.close()


def test_a_full_disk_is_away_and_undoes_the_whole_import(file: Path) -> None:
    store = opened(file)
    pages = store._rows("PRAGMA page_count")[0][0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreAway, match="full"):
        store.add(imported(noted([name() for _ in range(500)], width=256)))
    assert store.stat().decisions == 0
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert store.add(imported(noted([name()]))).decisions == 1
    store.close()


def test_a_file_that_is_something_else_is_refused_and_left_alone(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"something else altogether, long enough to be looked at " * 40)
    content = file.read_bytes()
    with pytest.raises(StoreError, match="not a database; move it away"):
        SqliteStore(str(file))
    assert file.read_bytes() == content
    with pytest.raises(StoreError, match="cannot be written"):
        SqliteStore(str(tmp_path / "no" / "such" / "ledger.sqlite"))


def test_a_spoilt_file_is_found_out(file: Path) -> None:
    store = opened(file)
    store.add(imported(noted([name() for _ in range(300)], width=128)))
    store.close()
    with file.open("rb+") as spoilt:
        spoilt.seek(file.stat().st_size - 12000)
        spoilt.write(os.urandom(8000))
    again = SqliteStore(str(file))
    try:
        faults = again.verify()
    except StoreError as error:
        faults = [str(error)]
    assert faults
    again.close()


def test_the_tables_can_be_read_with_sqlite_alone(file: Path) -> None:
    store = opened(file)
    store.add(imported(noted([name()], segment="shop")))
    store.close()
    plain = sqlite3.connect(file)
    query = "SELECT d.segment, d.candidate, b.version FROM decisions d JOIN bundles b ON b.id = d.bundle_id"
    assert plain.execute(query).fetchall() == [("shop", "small", "3")]
    plain.close()

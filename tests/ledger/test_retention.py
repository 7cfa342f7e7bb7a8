from pathlib import Path

import pytest

from sidecar.ledger import retention as module
from sidecar.ledger import sqlite
from sidecar.ledger.retention import DAY_S, LOOK_S, Retention
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import Store
from tests.ledger.made import NOW, config_in, imported, name, noted, said


def config(**keys: object) -> LedgerConfig:
    return config_in(Path("unused"), **{"keep_days": 0.0, "keep_bytes": 0, **keys})


def fill(store: Store, amount: int, at: float = NOW, width: int = 4) -> list[str]:
    ids = [name(at + number / 1000) for number in range(amount)]
    store.add(imported(noted(ids, width=width), outcomes=[said(each, received=at + 9, error="") for each in ids]))
    return ids


def test_what_is_older_than_the_days_goes_in_small_bites(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    fill(store, 10, NOW - 3 * DAY_S)
    fresh = fill(store, 5)
    retention = Retention(config(keep_days=2.0))
    assert [retention.step(store, NOW + 1) for _ in range(4)] == [True, True, True, False]
    assert [each.decision_id.hex() for each in store.decisions(bytes(16), b"\xff" * 16, 99)] == fresh
    assert store.stat().outcomes == 5


def test_it_looks_only_now_and_then(store: Store) -> None:
    retention = Retention(config(keep_days=1.0))
    assert not retention.step(store, NOW)
    fill(store, 3, NOW - 2 * DAY_S)
    assert not retention.step(store, NOW + LOOK_S - 1)
    assert store.stat().decisions == 3
    assert retention.step(store, NOW + LOOK_S)


def test_a_clock_that_is_set_back_does_not_stop_it(store: Store) -> None:
    retention = Retention(config(keep_days=1.0))
    assert not retention.step(store, NOW + 9 * DAY_S)
    fill(store, 3, NOW - 2 * DAY_S)
    assert retention.step(store, NOW)
    assert not retention.step(store, NOW)
    assert not retention.step(store, NOW + 1)


def test_when_there_is_too_much_the_oldest_go_and_some_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 50)
    ids = fill(store, 1000, width=256)
    most = int(store.used_bytes() * 0.7)
    Retention(config(keep_bytes=most)).prune(store, NOW)
    left = [each.decision_id.hex() for each in store.decisions(bytes(16), b"\xff" * 16, 9999)]
    assert left == ids[-len(left) :]
    assert 500 < len(left) < 700
    assert store.used_bytes() <= most * module.SLACK


def test_nothing_goes_that_is_to_be_kept(store: Store) -> None:
    fill(store, 20, 1000.0)
    Retention(config()).prune(store, NOW)
    Retention(config(keep_bytes=1 << 40, keep_days=36500.0)).prune(store, NOW)
    assert store.stat()[:2] == (20, 20)


def test_a_limit_below_what_an_empty_store_takes_ends_all_the_same(store: Store) -> None:
    fill(store, 20)
    Retention(config(keep_bytes=1)).prune(store, NOW)
    assert store.stat()[:2] == (0, 0)


def test_how_much_is_left_is_not_asked_after_each_bite(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 10)
    fill(store, 1000, width=256)
    weigh = store.used_bytes
    most, asked = int(weigh() * 0.5), 0

    def counted() -> int:
        nonlocal asked
        asked += 1
        return weigh()

    monkeypatch.setattr(store, "used_bytes", counted)
    Retention(config(keep_bytes=most)).prune(store, NOW)
    assert store.stat().decisions < 500
    assert 0 < asked < 12  # of more than 50 bites


def test_a_store_that_was_cut_back_gives_its_space_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_RECLAIM_PAGES", 4)
    file = tmp_path / "ledger.sqlite"
    store = sqlite.SqliteStore(str(file))
    store.migrate()
    fill(store, 1000, width=512)
    Retention(config(keep_bytes=store.used_bytes() // 4)).prune(store, NOW)
    store._rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert file.stat().st_size < store.used_bytes() * 1.2
    store.close()

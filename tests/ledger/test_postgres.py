import sys

import pytest

from sidecar.ledger.postgres import PostgresStore
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import StoreAway, StoreError, open_store
from tests.ledger.made import imported, name, noted, said
from tests.ledger.postgres_server import Server


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.database()


def opened(url: str) -> PostgresStore:
    store = PostgresStore(url)
    store.migrate()
    return store


def test_several_sidecars_keep_their_records_in_one_place(url: str) -> None:
    stores = [opened(url) for _ in range(2)]
    ids = [name() for _ in stores]
    same = said(ids[0], key="k", quality=1.0)
    added = [store.add(imported(noted([each]), outcomes=[same])) for store, each in zip(stores, ids, strict=True)]
    assert [tuple(each) for each in added] == [(1, 1), (1, 0)]
    assert stores[0].stat()[:3] == stores[1].stat()[:3] == (2, 1, 0)
    for store in stores:
        store.close()


def test_a_server_that_ends_is_away_and_the_password_is_not_said(postgres: Server, url: str) -> None:
    store = opened(url)
    postgres.stop()
    try:
        with pytest.raises(StoreAway, match="does not answer"):
            store.add(imported(noted([name()])))
        with pytest.raises(StoreAway, match="does not answer") as refused:
            PostgresStore(url.replace("router@", "router:geheim@"))
        assert "geheim" not in str(refused.value)
    finally:
        postgres.start()
    store.close()
    again = opened(url)
    assert again.add(imported(noted([name()]))).decisions == 1
    again.close()


def test_a_wrong_connection_string_is_refused_without_being_quoted() -> None:
    with pytest.raises((StoreError, StoreAway)) as refused:
        PostgresStore("postgresql://me:geheim@/d?nosuchoption=1")
    assert "geheim" not in str(refused.value)


def test_without_the_package_one_is_told_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sidecar.ledger.postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"install 'router-sidecar\[postgres\]'"):
        open_store(LedgerConfig(directory="d", url="postgresql://h/d"))

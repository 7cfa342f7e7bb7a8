"""Both stores, each fresh and empty."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import Store, open_store
from tests.ledger.made import config_in
from tests.ledger.postgres_server import Server, programs, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL's server is not installed (initdb, postgres)")
    with running(folder) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerConfig:
    """Of an empty ledger in each kind of store."""
    url = request.getfixturevalue("postgres").database() if request.param == "postgresql" else ""
    (tmp_path / "ledger").mkdir()
    return config_in(tmp_path / "ledger", url=url)


@pytest.fixture
def embedded(tmp_path: Path) -> LedgerConfig:
    """Of an empty ledger in SQLite."""
    (tmp_path / "ledger").mkdir()
    return config_in(tmp_path / "ledger")


@pytest.fixture
def connect(config: LedgerConfig) -> Iterator[Callable[[], Store]]:
    """Opens the store as often as one likes."""
    opened: list[Store] = []

    def connected() -> Store:
        opened.append(open_store(config))
        return opened[-1]

    yield connected
    for store in opened:
        store.close()


@pytest.fixture
def store(connect: Callable[[], Store]) -> Store:
    """An empty store with its tables."""
    fresh = connect()
    fresh.migrate()
    return fresh

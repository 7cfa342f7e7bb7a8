from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.fleet.table import FleetTable
from tests.fleet.stage import Clock


@pytest.fixture
def table(tmp_path: Path) -> Iterator[FleetTable]:
    made = FleetTable.create(tmp_path / "fleet", 6, 32)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()

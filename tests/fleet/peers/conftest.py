import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.fleet.settings import FleetConfig
from tests.fleet.peers.group import Board, Shifted, Sidecar
from tests.fleet.peers.real_server import RealServer
from tests.fleet.stage import Clock, priors_of

NAMES = ["a", "b"]


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


@pytest.fixture
def sidecar_of(tmp_path: Path, clock: Clock, board: Board) -> Iterator[Callable[..., Sidecar]]:
    made: list[Sidecar] = []

    def make(workers: int = 1, names: list[str] | None = None, settings: FleetConfig | None = None) -> Sidecar:
        at = len(made)
        # Hosts that were started at other times, and whose clocks are wrong by minutes.
        own = Shifted(clock, 5000.0 * at, unix_by=-130.0 * at)
        priors = priors_of(names or NAMES, first=1.0, per_token=0.0, slots=4.0)
        made.append(Sidecar(tmp_path / str(at), board, own, priors, workers=workers, settings=settings))
        return made[-1]

    yield make
    for sidecar in made:
        sidecar.close()


@pytest.fixture
def real_server() -> Iterator[RealServer]:
    # Not tmp_path: the path of a socket may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="peers-") as directory, RealServer(Path(directory)) as server:
        yield server

"""Several sidecars in one process: each with a fleet table, workers and a clock of its own; what is between them is given."""

from collections.abc import Sequence
from pathlib import Path

from sidecar.fleet.estimate import Priors
from sidecar.fleet.figures import Figures
from sidecar.fleet.peers.server import Away, Reply
from sidecar.fleet.peers.settings import PeersConfig
from sidecar.fleet.peers.work import Exchange, Peers
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.view import Fleet
from tests.fleet.stage import UNIX, Clock, Worker

SETTINGS = FleetConfig(
    expiry_factor=1000.0,
    min_expiry_seconds=1000.0,
    max_expiry_seconds=9000.0,
    peers=PeersConfig(url="redis://nowhere:6379/0"),
)


class Shifted(Clock):
    """The clock of another host: it began at another time, and its idea of the date is off."""

    def __init__(self, clock: Clock, by: float, unix_by: float = 0.0) -> None:
        self.clock, self.by, self.unix_by = clock, by, unix_by

    @property
    def now(self) -> float:  # type: ignore[override]
        return self.clock.now + self.by

    def __call__(self) -> float:
        return self.now

    def unix(self) -> float:
        return UNIX + self.clock.now + self.unix_by


class Board:
    """In the place of the server: a dictionary, and a clock that nobody else's agrees with."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.messages: dict[str, bytes] = {}
        self.spent: dict[int, dict[str, bytes]] = {}
        self.away = ""

    def time(self) -> float:
        return 5e8 + self.clock.now


class Line:
    """One sidecar's connection with the board."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self.board, self.clock = board, clock

    def exchange(self, member: str, message: bytes, day: int, spent: bytes) -> Reply:
        board = self.board
        if board.away:
            raise Away(board.away)
        board.messages[member] = message
        if spent:
            board.spent.setdefault(day, {})[member] = spent
        messages = {who: what for who, what in board.messages.items() if who != member}
        money = {who: what for who, what in board.spent.get(day, {}).items() if who != member}
        return Reply(messages, money, 0, board.time(), self.clock.now, self.clock.now)

    def leave(self, member: str) -> None:
        self.board.messages.pop(member, None)


class Sidecar:
    """A sidecar with its workers."""

    def __init__(
        self,
        directory: Path,
        server: Board | None,
        clock: Shifted,
        priors: Priors,
        *,
        workers: int = 1,
        settings: FleetConfig | None = None,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory, self.clock = directory, clock
        self.server: Exchange | None = Line(server, clock) if server else None
        self.settings = settings or SETTINGS
        self.table = FleetTable.create(directory / "fleet", workers + 4, 32, peers=True)
        self.workers = [Worker(self.table, number, priors, clock, self.settings) for number in range(workers)]
        self.peers = self.observe()

    def observe(self) -> Peers:
        """Starts the observer's part, as after it was killed."""
        return Peers(
            self.settings, self.table, self.directory, server=self.server, clock=self.clock, unix=self.clock.unix
        )

    def talk(self) -> bool:
        """Counts, exchanges, and counts again."""
        self.peers.tick()
        told = self.peers.exchange()
        self.peers.tick()
        return told

    def read(self) -> Fleet:
        """What the first worker knows after a merge."""
        self.clock.clock.now += 0.006
        return self.workers[0].read()

    def figures(self) -> Figures:
        return Figures(self.table, self.settings)

    def close(self) -> None:
        self.table.close()


def talk(sidecars: Sequence[Sidecar], rounds: int = 2) -> None:
    """All hear of each other."""
    for _ in range(rounds):
        for sidecar in sidecars:
            sidecar.clock.clock.now += 0.001
            sidecar.talk()

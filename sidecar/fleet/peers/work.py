"""The observer's work that keeps a sidecar and its peers informed of each other.

One thread reads and writes the fleet table, every few milliseconds; another one talks with the server, and may have to wait
for it. Workers see the others as one more writer in the table, and never wait for anybody. While the server is away, what
was heard is forgotten after `fleet.peers.forget_seconds`, and each sidecar goes by what it knows itself.
"""

import random
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from sidecar.errors import ConfigError
from sidecar.fleet.breaker import NEVER, Change
from sidecar.fleet.budget import PREFIX
from sidecar.fleet.columns import (
    CHANGED_AT,
    COLUMNS,
    COOL_UNTIL,
    DAY,
    IN_FLIGHT,
    IN_FLIGHT_THEN,
    LIKEWISE,
    STARTED,
    TOKENS_IN_FLIGHT,
    TOKENS_STARTED,
    USD,
)
from sidecar.fleet.peers.census import Census, Own
from sidecar.fleet.peers.group import Group
from sidecar.fleet.peers.hints import Hints
from sidecar.fleet.peers.message import VERSION, Report, Unreadable, decode, decode_spent, encode, encode_spent
from sidecar.fleet.peers.server import Away, Reply, Server
from sidecar.fleet.peers.server_clock import ServerClock
from sidecar.fleet.peers.settings import shown
from sidecar.fleet.peers.tally import PeersTally
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.writer import Writer

# This sidecar counts its own calls so often within an interval, but not more often than that.
TICKS, LEAST_TICK_S = 10.0, 0.01
LONGEST_BACKOFF_S = 2.0
LONGEST_WAIT_S = 0.5
# Intervals differ by this share at random, so that sidecars do not ask the server in step.
JITTER = 0.1
# In the directory of the sidecar: who it is, for as long as its fleet table lives.
ID_FILE = "sidecar-id"


class Exchange(Protocol):
    """The server in the middle."""

    def exchange(self, member: str, message: bytes, day: int, spent: bytes) -> Reply:
        """See sidecar.fleet.peers.server.Server."""
        ...

    def leave(self, member: str) -> None:
        """See sidecar.fleet.peers.server.Server."""
        ...


class _Heard(NamedTuple):
    """What one exchange brought.

    Attributes:
        reports: the others' messages.
        spent: USD of all others by name of a budget's row.
        day: when they spent that, in days since 1970; below 0: nothing is known.
        ahead_s: by which the server's clock is ahead of ours.
        at: when it was read, monotonic seconds.
    """

    reports: list[Report]
    spent: dict[str, float]
    day: int
    ahead_s: float
    at: float


class Peers:
    """A Work.

    Args:
        config: checked, with a URL.
        table: the sidecar's.
        runtime: directory of the sidecar.
        server: None: the one that is configured.
        clock: monotonic seconds.
        unix: Unix seconds.

    Attributes:
        tally: how the exchange fares.

    Raises:
        ConfigError: the library is missing, a file cannot be used, or somebody else does this already.
    """

    def __init__(
        self,
        config: FleetConfig,
        table: FleetTable,
        runtime: Path,
        *,
        server: Exchange | None = None,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        peers = config.peers
        self._server = server or Server(peers, min(LONGEST_WAIT_S, peers.forget_seconds / 2.0), clock)
        self._clock, self._unix = clock, unix
        self._id = _identity(runtime)
        name = peers.name or f"{socket.gethostname()}-{self._id[:6]}"
        self.tally = PeersTally(shown(peers.url), peers.group, name)
        self._interval_s = peers.interval_ms / 1000.0
        self._tick_s = max(LEAST_TICK_S, self._interval_s / TICKS)
        self._time = ServerClock()
        self._group = Group(peers.forget_seconds)
        self._hints = Hints(config.breaker.max_cool_down_seconds)
        self._most_cool_s = config.breaker.max_cool_down_seconds
        self._census = Census(table, config.dead_after_seconds, int(peers.forget_seconds / self._tick_s) + 2)
        self._writer = Writer(table, table.peers, clock)
        self._forget_all()
        self._heard: deque[_Heard] = deque()
        self._own: Own | None = None
        self._broken: Exception | None = None

    def run(self, stop: threading.Event) -> None:
        """Works until it is told to stop; then what was heard of others no longer counts."""
        ending = threading.Event()
        self._broken = None
        self.tick()
        talk = threading.Thread(target=self._talk, args=(ending,), name="peers-exchange")
        talk.start()
        try:
            while self._broken is None and not stop.wait(self._tick_s):
                self.tick()
        finally:
            ending.set()
            talk.join()
            self._server.leave(self._id)
            self._forget_all()
        if self._broken is not None:
            raise self._broken

    def tick(self) -> None:
        """Counts what this sidecar has, and brings what was heard into the table."""
        now = self._clock()
        writer = self._writer
        self._own = own = self._census.take(now, self._unix(), writer.rows[self._places])
        news = self._group.forget(now)
        while self._heard:
            heard = self._heard.popleft()
            self._group.take(heard.reports, heard.ahead_s, heard.at)
            self._census.learn(name for report in heard.reports for name in report.rows)
            self._enter(own)
            self._spend(heard)
            news = True
        if news:
            self._write(own, now)
        writer.beat()

    def exchange(self) -> bool:
        """Tells the others what was counted last, and hears them; whether that came about."""
        own = self._own
        if own is None:
            return False
        server = own.at + self._time.ahead_s if self._time.known else 0.0
        message = encode(Report(VERSION, self._id, self.tally.name, own.at, server, own.rows))
        day = own.day if any(name.startswith(PREFIX) for name in own.names) else -1
        try:
            reply = self._server.exchange(self._id, message, day, encode_spent(own.spent) if own.spent else b"")
        except Away as away:
            self.tally.fail(str(away))
            return False
        self.tally.exchanged(self._unix())
        self._time.read(reply.server, reply.asked, reply.answered)
        self._heard.append(self._read(reply, day))
        return True

    def _talk(self, ending: threading.Event) -> None:
        failures = 0
        try:
            while not ending.is_set():
                failures = 0 if self.exchange() else failures + 1
                wait_s = min(self._interval_s * 2.0 ** min(failures, 16), max(LONGEST_BACKOFF_S, self._interval_s))
                ending.wait(wait_s * (1.0 + JITTER * (2.0 * random.random() - 1.0)))  # noqa: S311 - no secret
        except Exception as broken:  # noqa: BLE001 - raised by `run`
            self._broken = broken

    def _read(self, reply: Reply, day: int) -> _Heard:
        faults, why = reply.faults, "a key is not what it should be"
        reports, spent = [], dict[str, float]()
        for member, raw in reply.messages.items():
            try:
                report = decode(raw)
            except Unreadable as unreadable:
                faults, why = faults + 1, str(unreadable)
                continue
            if report.sidecar == member:
                reports.append(report)
            else:
                faults += 1
        for raw in reply.spent.values():
            try:
                for name, usd in decode_spent(raw).items():
                    spent[name] = spent.get(name, 0.0) + usd
            except Unreadable as unreadable:
                faults, why = faults + 1, str(unreadable)
        self.tally.read(faults, why)
        return _Heard(reports, spent, day, self._time.ahead_s, self._clock())

    def _enter(self, own: Own) -> None:
        """Rows in the order of Own.names."""
        for name in own.names[len(self._names) :]:
            try:
                self._places.append(self._writer.row(name))
            except ConfigError:
                break  # no more room; workers have said so, too
            self._names.append(name)

    def _spend(self, heard: _Heard) -> None:
        cells = self._writer.cells
        for name, row in zip(self._names, self._places, strict=True):
            if heard.day >= 0 and name.startswith(PREFIX):
                cells[row * COLUMNS + DAY], cells[row * COLUMNS + USD] = heard.day, heard.spent.get(name, 0.0)

    def _write(self, own: Own, now: float) -> None:
        sums = self._group.sums(own, self._census, now)
        grown = self._group.grown()
        cells = self._writer.cells
        for at, (name, row) in enumerate(zip(self._names, self._places, strict=True)):
            base = row * COLUMNS
            cells[base + IN_FLIGHT] = sums.in_flight[at]
            cells[base + TOKENS_IN_FLIGHT] = sums.tokens_in_flight[at]
            cells[base + LIKEWISE] = sums.likewise[at]
            cells[base + IN_FLIGHT_THEN] = sums.own_then[at]
            started, tokens = grown.get(name, (0.0, 0.0))
            cells[base + STARTED] += started
            cells[base + TOKENS_STARTED] += tokens
            if sums.cool_until[at]:
                cells[base + COOL_UNTIL] = min(sums.cool_until[at], now + self._most_cool_s)
            change = self._hints.judge(name, own.changes.get(name, NEVER), self._group.peers, now)
            if change is not None:
                self._follow(base, change)
        self._writer.publish()
        self.tally.peers, self.tally.oldest_seconds = len(self._group.peers), sums.oldest_seconds

    def _follow(self, base: int, change: Change) -> None:
        for column, value in enumerate(change):
            self._writer.cells[base + CHANGED_AT + column] = value

    def _forget_all(self) -> None:
        """What was decided and spent stays: it is never undone."""
        writer = self._writer
        for column in (IN_FLIGHT, TOKENS_IN_FLIGHT, LIKEWISE, IN_FLIGHT_THEN):
            writer.rows[:, column] = 0.0
        writer.publish()
        self._names: list[str] = []
        self._places: list[int] = []
        self.tally.peers = 0


def _identity(runtime: Path) -> str:
    """The sidecar's id: the same for each observer process of the same fleet table."""
    path = runtime / ID_FILE
    if not path.exists():
        new = path.with_suffix(".new")
        new.write_text(secrets.token_hex(8))
        new.rename(path)  # at once and whole
    return path.read_text()

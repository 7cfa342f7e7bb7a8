"""Whole: threads, the real clock, a real server that is killed, hangs and comes back, and the observer process."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import pytest

from sidecar.config import CandidateConfig, Config
from sidecar.control import CONFIG, CONFIG_FAULT
from sidecar.fleet.estimate import Priors
from sidecar.fleet.live import LiveFleet
from sidecar.fleet.peers.settings import PeersConfig
from sidecar.fleet.peers.work import Peers
from sidecar.fleet.regions import FLEET
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.view import Fleet, FleetView
from tests.fleet.peers.real_server import PATIENCE_S, RealServer, needs_server

pytestmark = needs_server

FORGET_S = 0.6


class Running:
    """A sidecar with one worker, whose observer's work runs in a thread or not at all."""

    def __init__(self, directory: Path, url: str) -> None:
        directory.mkdir()
        self.directory = directory
        self.settings = FleetConfig(
            min_expiry_seconds=600.0,
            peers=PeersConfig(url=url, interval_ms=30, forget_seconds=FORGET_S).checked(),
        )
        self.table = FleetTable.create(directory / FLEET, 5, 16, peers=True)
        self.live = LiveFleet(self.table, 0, self.settings, clock=time.monotonic, unix=time.time)
        one = np.ones(1)
        self.view = FleetView(self.live, Priors(["a"], one, 0.0 * one, 0.0 * one, 4.0 * one))
        self.taken = 0
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None
        self.read()

    def start(self) -> Peers:
        peers = Peers(self.settings, self.table, self.directory)
        self.thread = threading.Thread(target=peers.run, args=(self.stop,))
        self.thread.start()
        return peers

    def decide(self, calls: int) -> None:
        for _ in range(calls):
            self.view.decided(self.taken, 0, 10.0, 1.0, 0.0, time.monotonic())
            self.taken += 1
        self.live.publish(time.monotonic())

    def read(self) -> Fleet:
        return self.view.read(time.monotonic())

    def sees(self, calls: float) -> bool:
        return bool(self.read().in_flight[0] == calls)

    def end(self) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join(PATIENCE_S)
            assert not self.thread.is_alive()
            self.thread = None
        self.table.close()


@pytest.fixture
def pair(tmp_path: Path, real_server: RealServer) -> Iterator[list[Running]]:
    made = [Running(tmp_path / str(at), real_server.url) for at in range(2)]
    yield made
    for one in made:
        one.end()


def until(true: Callable[[], bool], *beat: Running) -> float:
    """Waits for it, while workers give signs of life; gives the seconds that it took."""
    began = time.monotonic()
    while not true():
        for one in beat:
            one.read()
        assert time.monotonic() - began < PATIENCE_S
        time.sleep(0.002)
    return time.monotonic() - began


def test_two_sidecars_hear_of_each_other_until_one_ends(pair: list[Running]) -> None:
    one, two = pair
    peers = one.start()
    two.start()
    two.decide(3)
    one.decide(1)
    until(lambda: one.sees(4.0) and two.sees(4.0), *pair)
    assert peers.tally.peers == 1
    two.end()
    until(lambda: one.sees(1.0), one)
    assert until(lambda: two.sees(3.0), two) < two.settings.dead_after_seconds / 2  # it ended in good order
    assert peers.tally.failed == 0


@pytest.mark.parametrize("trouble", ["killed", "hangs"])
def test_while_the_server_is_away_each_goes_by_itself_and_deciding_goes_on(
    pair: list[Running], real_server: RealServer, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = pair
    peers = one.start()
    two.start()
    two.decide(3)
    until(lambda: one.sees(3.0), *pair)
    longest = 0.0
    with caplog.at_level("INFO"):
        (real_server.stop if trouble == "killed" else real_server.hang)()

        def gone() -> bool:
            nonlocal longest
            began = time.thread_time()  # what deciding takes, whoever else wants the processor
            seen = one.sees(0.0)
            longest = max(longest, time.thread_time() - began)
            return seen

        assert until(gone, *pair) < FORGET_S + 3.0
        assert longest < 0.05
        until(lambda: peers.tally.failed > 2, *pair)
        (real_server.start if trouble == "killed" else real_server.go_on)()
        until(lambda: one.sees(3.0), *pair)
    mine = [record.levelname for record in caplog.records if record.name == "sidecar.fleet.peers.tally"]
    assert sorted(mine) == ["INFO", "INFO", "WARNING", "WARNING"]  # each sidecar says so once
    assert peers.tally.fault == ""


def test_messages_that_are_none_are_counted_and_said_once(
    pair: list[Running], real_server: RealServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = pair
    member = "f" * 16
    garbage = [b"\xc1", b"{}", msgspec.msgpack.encode({"version": 9}), b"hello"]
    with real_server.client() as client, caplog.at_level("INFO"):
        for key in (f"router-sidecar:{{default}}:of:{member}",):
            client.set(key, garbage[0])
            client.sadd("router-sidecar:{default}:members", member)
        peers = one.start()
        two.start()
        two.decide(2)
        until(lambda: one.sees(2.0), *pair)
        for raw in garbage:
            client.set(key, raw)
            before = peers.tally.unreadable
            until(lambda before=before: peers.tally.unreadable > before + 1, *pair)  # type: ignore[misc]
        client.delete(key)
        until(lambda: not peers.tally.puzzled, *pair)
    assert one.sees(2.0)
    assert peers.tally.failed == 0
    for level, words in (("WARNING", "left out"), ("INFO", "can be read again")):
        mine = [record for record in caplog.records if record.levelname == level and words in record.getMessage()]
        assert 1 <= len(mine) <= 2  # each sidecar says so once


def test_what_is_unforeseen_ends_the_work_and_its_threads_so_that_it_is_begun_again(pair: list[Running]) -> None:
    one = pair[0]
    peers = Peers(one.settings, one.table, one.directory)

    def break_down(*_: object) -> None:
        raise RuntimeError("out of order")

    peers._server.exchange = break_down  # type: ignore[assignment, method-assign]
    threads = threading.active_count()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of order"):
            peers.run(threading.Event())
    assert threading.active_count() == threads


class Observer:
    """The observer process of a sidecar that has a table already."""

    def __init__(self, running: Running, config: Config) -> None:
        (running.directory / CONFIG).write_bytes(msgspec.json.encode(config))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar.observer", str(running.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.said = json.loads(self.process.stdout.readline())

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, errors.decode()

    def close(self) -> None:
        if self.process.returncode is None:
            self.end(signal.SIGKILL)


def config_of(running: Running) -> Config:
    return Config(candidates=(CandidateConfig(name="a"),), fleet=running.settings).checked()


@pytest.mark.slow
def test_the_observer_process_exchanges_and_one_in_its_place_goes_on(pair: list[Running]) -> None:
    one, two = pair
    with ExitStack() as ending:
        first, other = Observer(one, config_of(one)), Observer(two, config_of(two))
        ending.callback(first.close)
        ending.callback(other.close)
        one.decide(1)
        two.decide(3)
        until(lambda: one.sees(4.0) and two.sees(4.0), *pair)
        assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
        until(lambda: two.sees(3.0), *pair)
        second = Observer(one, config_of(one))
        ending.callback(second.close)
        assert second.said == {}
        one.decide(1)
        until(lambda: one.sees(5.0) and two.sees(5.0), *pair)
        code, errors = second.end()
        assert code == 0
        assert "Traceback" not in errors
        assert other.end()[0] == 0


def test_the_observer_process_says_what_it_lacks(pair: list[Running]) -> None:
    settings = FleetConfig(peers=PeersConfig(url="redis://:s3cret@localhost").checked())
    config = Config(candidates=(CandidateConfig(name="a"),), fleet=settings).checked()
    wrong = msgspec.structs.replace(
        config,
        fleet=FleetConfig(peers=PeersConfig(url="redis://localhost", password_file="/none")),  # noqa: S106 - a path
    )
    observer = Observer(pair[0], wrong)
    assert "fleet.peers.password_file: /none cannot be read" in observer.said["error"]
    observer.process.communicate(timeout=PATIENCE_S)
    assert observer.process.returncode == CONFIG_FAULT

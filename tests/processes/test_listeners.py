import asyncio
import errno
import gc
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from sidecar.child import Child
from sidecar.config import Config
from sidecar.errors import ConfigError
from sidecar.host import reserve
from sidecar.processes.listeners import Listeners, hands_down_listeners
from sidecar.supervisor import Supervisor
from tests.waiting import until

PATIENCE_S = 30.0
TOY_WORKER = str(Path(__file__).with_name("toy_worker.py"))


class Client:
    """One connection; asks who serves it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def connect(self) -> "Client":
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def ask(self) -> int:
        self._writer.write(b"who?")
        line = await asyncio.wait_for(self._reader.readline(), PATIENCE_S)
        if not line:
            raise ConnectionResetError
        return int(line)

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class Port:
    """Toy workers on one port, under a supervisor's care."""

    def __init__(self, runtime: Path, workers: int) -> None:
        self.reserved, self.listen = reserve("127.0.0.1:0")
        host, _, port = self.listen.rpartition(":")
        self.address = (host, int(port))
        self.listeners = Listeners(self.reserved, workers, runtime)
        self.children = []
        for number in range(workers):
            arguments = (TOY_WORKER, str(number), str(runtime), self.listen, *self.listeners.arguments(number))
            descriptors = self.listeners.descriptors(number)
            serves = partial(self._serves, number)
            self.children.append(Child(f"worker {number}", arguments, descriptors=descriptors, serves=serves))
        self.serving: dict[int, int | None] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.clients: list[Client] = []

    async def start(self) -> None:
        await asyncio.gather(*(child.start() for child in self.children))
        self.tasks = [asyncio.ensure_future(child.keep()) for child in self.children]

    def pid(self, number: int) -> int:
        process = self.children[number]._process
        assert process is not None
        return process.pid

    def _serves(self, number: int, process: int | None) -> None:
        self.serving[number] = process
        self.listeners.serves(number, process)

    def is_up(self, number: int) -> bool:
        return self.serving[number] is not None

    async def connect(self) -> Client:
        self.clients.append(await Client(self.address).connect())
        return self.clients[-1]

    async def kill(self, number: int) -> None:
        os.kill(self.pid(number), signal.SIGKILL)
        await until(lambda: not self.is_up(number))

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        for child in self.children:
            child.resign()
        await self.listeners.close()
        for child in self.children:
            await child.stop(PATIENCE_S)
            await child.kill()
        for task in self.tasks:
            task.cancel()  # one may wait for its next start
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.reserved.close()
        await asyncio.sleep(0.01)  # what is closed is really closed one turn later


Serve = Callable[[int], AbstractAsyncContextManager[Port]]


@pytest.fixture
def runtime() -> Iterator[Path]:
    """As the supervisor makes it: pytest's own paths are too long for the names of Unix sockets."""
    made = Path(tempfile.mkdtemp(prefix="router-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def port(runtime: Path) -> Serve:
    """Serves with so many toy workers; `async with port(2) as served`."""

    @asynccontextmanager
    async def serve(workers: int) -> AsyncIterator[Port]:
        own = Path(tempfile.mkdtemp(dir=runtime))
        served = Port(own, workers)
        try:
            await served.start()
            yield served
        finally:
            await served.close()

    return serve


@pytest.fixture
def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead workers stay down for the time of a test."""
    monkeypatch.setattr("sidecar.child.FIRST_DELAY_S", 600.0)
    monkeypatch.setattr("sidecar.child.MOST_DELAY_S", 600.0)


# --- killed workers --------------------------------------------------------------------------------------------------


async def test_connections_that_wait_for_a_killed_worker_are_served_by_its_successor(port: Serve) -> None:
    async with port(1) as served:
        first = served.pid(0)
        os.kill(first, signal.SIGSTOP)
        clients = [await served.connect() for _ in range(20)]
        answers = [asyncio.ensure_future(client.ask()) for client in clients]
        os.kill(first, signal.SIGKILL)
        assert first not in await asyncio.gather(*answers)
        assert {await client.ask() for client in clients} == {served.pid(0)}


async def test_connections_made_while_the_only_worker_is_down_wait_for_its_successor(port: Serve) -> None:
    async with port(1) as served:
        await served.kill(0)
        assert not served.is_up(0)
        client = await served.connect()
        assert await client.ask() == served.pid(0)


async def test_while_a_worker_is_down_the_others_serve_what_waits_for_it(port: Serve, never_again: None) -> None:
    async with port(2) as served:
        os.kill(served.pid(0), signal.SIGSTOP)
        # The kernel gives the stopped worker about half of them.
        clients = [await served.connect() for _ in range(24)]
        answers = [asyncio.ensure_future(client.ask()) for client in clients]
        await served.kill(0)
        # And half of those that come later.
        later = [await served.connect() for _ in range(24)]
        assert set(await asyncio.gather(*answers)) == {served.pid(1)}
        assert {await client.ask() for client in later} == {served.pid(1)}


async def test_a_killed_worker_costs_only_the_connections_that_it_had(port: Serve) -> None:
    async with port(3) as served:
        lost: list[int] = []
        asked: Counter[int] = Counter()
        enough = asyncio.Event()

        async def come_and_go() -> None:
            while not enough.is_set():
                client = Client(served.address)
                await client.connect()  # never refused
                try:
                    asked[await client.ask()] += 1
                except ConnectionError:
                    lost.append(1)
                await client.close()

        callers = 4
        calling = [asyncio.ensure_future(come_and_go()) for _ in range(callers)]
        rounds = 4
        for number in range(rounds):
            victim = number % 3
            before = served.pid(victim)
            await served.kill(victim)
            await until(partial(served.is_up, victim))
            assert served.pid(victim) != before
            asked.clear()
            await until(lambda: asked.total() > 20)
        enough.set()
        await asyncio.gather(*calling)
        # Each caller has one connection at a time.
        assert len(lost) <= rounds * callers


# --- replaced and ended workers --------------------------------------------------------------------------------------


async def test_replacing_all_workers_loses_no_connection(port: Serve) -> None:
    async with port(2) as served:
        before = {served.pid(0), served.pid(1)}
        pids: set[int] = set()
        enough = asyncio.Event()

        async def come_and_go() -> None:
            while not enough.is_set():
                client = Client(served.address)
                await client.connect()
                pids.add(await client.ask())
                await client.close()

        calling = [asyncio.ensure_future(come_and_go()) for _ in range(4)]
        for _ in range(2):
            for child in served.children:
                await child.replace(PATIENCE_S)
        now = {served.pid(0), served.pid(1)}
        await until(lambda: now <= pids)
        enough.set()
        await asyncio.gather(*calling)  # raises what a caller met
        assert not now & before


async def test_while_a_worker_is_told_to_end_the_others_serve_what_comes(port: Serve) -> None:
    async with port(2) as served:
        await served.children[0].stop(PATIENCE_S)
        clients = [await served.connect() for _ in range(24)]
        assert {await client.ask() for client in clients} == {served.pid(1)}


async def test_once_all_is_closed_clients_are_refused_and_the_port_is_free(port: Serve, runtime: Path) -> None:
    async with port(2) as served:
        for _ in range(8):  # the workers' ends of these are in TIME_WAIT
            client = await served.connect()
            await client.ask()
        for number in range(2):
            await served.kill(number)
        with pytest.raises(ConfigError, match="Address already in use"):
            reserve(served.listen)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*served.address)
    again, _ = reserve(served.listen)
    again.close()


async def test_a_supervisor_keeps_the_port_open_until_its_last_worker_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sidecar.supervisor.hands_down_listeners", lambda _config: True)
    monkeypatch.setattr("sidecar.supervisor.Child", _toy_child)
    caplog.set_level(logging.INFO, "sidecar")
    said: list[str] = []
    supervisor = Supervisor(Config(listen="127.0.0.1:0", workers=2), Path(), said.append)
    running = asyncio.ensure_future(supervisor.run())
    await until(lambda: bool(said))
    host, _, number = said[0].split()[2].rpartition(":")
    address = (host, int(number))
    before = await _two_clients(address)
    for client in before.values():
        await client.close()

    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: "all processes are replaced" in caplog.text)
    clients = await _two_clients(address)
    assert not clients.keys() & before.keys()

    # The workers end one after the other, each when its client has gone.
    first, second = (worker._process.pid for worker in supervisor._workers if worker._process)
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(12):
        client = await Client(address).connect()
        assert await client.ask() in clients
        await client.close()
    await clients[first].close()
    await until(partial(_is_refused, address))
    assert await clients[second].ask() == second
    assert not running.done()
    await clients[second].close()
    await asyncio.wait_for(running, PATIENCE_S)
    reserve(f"{host}:{number}")[0].close()
    await asyncio.sleep(0.01)  # what is closed is really closed one turn later


async def _two_clients(address: tuple[str, int]) -> dict[int, Client]:
    """Each of another worker, by its pid."""
    clients = [await Client(address).connect() for _ in range(2)]
    found = {await client.ask(): client for client in clients}
    assert len(found) == 2
    return found


def _toy_child(name: str, arguments: Sequence[str], **settings: Any) -> Child:
    program = (TOY_WORKER, *arguments[3:]) if name.startswith("worker") else ("-c", "print('{}', flush=True); input()")
    return Child(name, program, **settings)


def _is_refused(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == errno.ECONNREFUSED


# --- balance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [2, 4])
async def test_four_connections_end_evenly(port: Serve, amount: int) -> None:
    async with port(amount) as served:
        pids = Counter([await (await served.connect()).ask() for _ in range(4)])
        assert sorted(pids.values()) == [4 // amount] * amount


async def test_a_successor_gets_new_connections_until_it_has_as_many_as_the_others(port: Serve) -> None:
    async with port(2) as served:
        await served.kill(0)
        for _ in range(4):
            assert await (await served.connect()).ask() == served.pid(1)
        await until(partial(served.is_up, 0))
        pids = Counter([await (await served.connect()).ask() for _ in range(4)])
        assert pids == {served.pid(0): 4}


# --- the sockets themselves ------------------------------------------------------------------------------------------


async def test_until_a_worker_is_ready_clients_are_refused(runtime: Path) -> None:
    served = Port(runtime, 2)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*served.address)
    await served.close()


async def test_a_second_sidecar_on_the_port_is_refused(port: Serve) -> None:
    async with port(1) as served:
        served.reserved.close()
        with pytest.raises(ConfigError, match="Address already in use"):
            reserve(served.listen)


async def test_a_worker_inherits_its_own_listener_and_no_other(port: Serve) -> None:
    async with port(3) as served:
        inodes = [os.fstat(served.listeners.descriptors(number)[0]).st_ino for number in range(3)]
        for number in range(3):
            found = _sockets_of(served.pid(number))
            assert [inode for inode in inodes if inode in found] == [inodes[number]]


def _sockets_of(pid: int) -> set[int]:
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {int(link[8:-1]) for link in links if link.startswith("socket:[")}


async def test_nothing_is_left_behind(port: Serve) -> None:
    async with port(1) as served:  # what asyncio opens once
        await (await served.connect()).ask()
    gc.collect()  # an mmap has a descriptor too
    before = psutil.Process().num_fds()
    async with port(2) as served:
        await served.kill(0)
        for _ in range(8):
            await (await served.connect()).ask()
    gc.collect()
    # What earlier tests left may go meanwhile.
    await until(lambda: psutil.Process().num_fds() <= before)


async def test_more_listeners_than_there_are_descriptors_are_an_error_that_leaves_none(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved, _ = reserve("127.0.0.1:0")
    real = socket.socket
    made: list[socket.socket] = []

    def scarce(*args: int) -> socket.socket:
        if len(made) == 3:
            raise OSError(24, "Too many open files")
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr("sidecar.processes.listeners.socket.socket", scarce)
    with pytest.raises(ConfigError, match="no sockets for 4 workers: Too many open files"):
        Listeners(reserved, 4, runtime)
    monkeypatch.undo()
    assert [each.fileno() for each in made] == [-1] * 3
    reserved.close()


def test_workers_of_grpcio_bind_by_themselves() -> None:
    assert not hands_down_listeners(Config(transport="grpcio"))

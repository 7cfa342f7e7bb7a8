import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sidecar.errors import ConfigError
from sidecar.processes import connection_table
from sidecar.processes.connection_table import MOST_COMING, ConnectionTable
from sidecar.processes.handover import MOST_AT_ONCE, SOCKETS, Handover

PATIENCE_S = 30.0
# A worker that takes connections and never looks at them.
HANGS = """
import sys, time
from pathlib import Path
from sidecar.processes.handover import Handover
handover = Handover(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
handover.count(0)
print("ready", flush=True)
time.sleep(600)
"""


class Worker:
    """One worker's bookkeeping, as the transport does it."""

    def __init__(self, runtime: Path, number: int, workers: int) -> None:
        self.handover = Handover(runtime, number, workers)
        self.connections: list[socket.socket] = []
        self.handover.count(0)

    def accept(self, connection: socket.socket) -> bool:
        """Gives whether it was handed over."""
        if self.handover.place(connection, len(self.connections)):
            return True
        self._add(connection)
        return False

    def look(self) -> None:
        for connection in self.handover.receive():
            self._add(connection)

    def _add(self, connection: socket.socket) -> None:
        self.connections.append(connection)
        self.handover.count(len(self.connections))

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self.handover.close()


@pytest.fixture
def runtime() -> Iterator[Path]:
    """As the supervisor makes it: pytest's own paths are too long for the names of Unix sockets."""
    made = Path(tempfile.mkdtemp(prefix="router-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def start(runtime: Path) -> Iterator[Callable[[int, int], Worker]]:
    """Starts a worker of this process; `start(number, workers)`."""
    started: list[Worker] = []

    def start(number: int, workers: int) -> Worker:
        started.append(Worker(runtime, number, workers))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


@pytest.fixture
def hang(runtime: Path) -> Iterator[Callable[[int, int], "subprocess.Popen[str]"]]:
    """Starts a worker process that never looks at what it is handed; `hang(number, workers)`."""
    started: list[subprocess.Popen[str]] = []

    def start(number: int, workers: int) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HANGS, str(runtime), str(number), str(workers)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def connect() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Makes TCP connections; gives client and accepted end."""
    made: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def connect() -> tuple[socket.socket, socket.socket]:
            client = socket.create_connection(listener.getsockname(), PATIENCE_S)
            accepted, _ = listener.accept()
            made.extend((client, accepted))
            return client, accepted

        yield connect
    for each in made:
        each.close()


Start = Callable[[int, int], Worker]
Hang = Callable[[int, int], "subprocess.Popen[str]"]
Connect = Callable[[], tuple[socket.socket, socket.socket]]

# --- balance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [2, 4])
def test_four_connections_that_all_land_on_one_worker_end_evenly(start: Start, connect: Connect, amount: int) -> None:
    workers = [start(number, amount) for number in range(amount)]
    for _ in range(4):
        workers[0].accept(connect()[1])
    for worker in workers:
        worker.look()
    assert [len(worker.connections) for worker in workers] == [4 // amount] * amount


def test_what_was_handed_over_counts_before_its_new_worker_looks(start: Start, connect: Connect) -> None:
    busy, also_busy, idle = (start(number, 3) for number in range(3))
    for worker in (busy, also_busy):
        worker.connections = [connect()[1] for _ in range(2)]
        worker.handover.count(2)
    assert busy.accept(connect()[1])
    assert also_busy.accept(connect()[1])
    # The idle one has two on their way by now, which is no less than the others have.
    assert not busy.accept(connect()[1])
    assert not also_busy.accept(connect()[1])
    idle.look()
    assert len(idle.connections) == 2
    assert not idle.accept(connect()[1])


def test_a_worker_that_others_are_handing_to_counts_these_as_its_own(start: Start, connect: Connect) -> None:
    busy, filling, idle = (start(number, 3) for number in range(3))
    busy.connections = [connect()[1] for _ in range(2)]
    busy.handover.count(2)
    idle.handover.close()
    assert busy.accept(connect()[1])
    idle = start(2, 3)
    # It has looked at none yet, but one is coming; the idle one has none.
    assert filling.accept(connect()[1])
    idle.look()
    assert len(idle.connections) == 1


def test_a_worker_with_as_many_as_the_others_serves_by_itself(start: Start, connect: Connect) -> None:
    here, there = start(0, 2), start(1, 2)
    assert not here.accept(connect()[1])
    assert not there.accept(connect()[1])
    assert not here.accept(connect()[1])


def test_the_only_worker_serves_by_itself(start: Start, connect: Connect) -> None:
    here = start(0, 1)
    assert [here.accept(connect()[1]) for _ in range(4)] == [False] * 4


def test_what_a_client_sent_before_the_handover_is_read_after_it_and_answered(start: Start, connect: Connect) -> None:
    here, there = start(0, 2), start(1, 2)
    here.accept(connect()[1])
    client, accepted = connect()
    client.sendall(b"PRI * HTTP/2.0")
    assert here.accept(accepted)
    assert accepted.fileno() == -1
    there.look()
    (moved,) = there.connections
    assert moved.gettimeout() == 0.0
    assert not moved.get_inheritable()
    assert moved.getpeername() == client.getsockname()
    assert moved.recv(100) == b"PRI * HTTP/2.0"
    moved.sendall(b"SETTINGS")
    assert client.recv(100) == b"SETTINGS"


def test_a_worker_that_was_not_counted_yet_gets_nothing(runtime: Path, start: Start, connect: Connect) -> None:
    here, loading = start(0, 2), Handover(runtime, 1, 2)
    assert [here.accept(connect()[1]) for _ in range(3)] == [False] * 3
    loading.count(0)
    assert here.accept(connect()[1])
    loading.close()


def test_it_becomes_readable_when_something_was_handed_over(start: Start, connect: Connect) -> None:
    here, there = start(0, 2), start(1, 2)
    here.accept(connect()[1])
    with pytest.raises(BlockingIOError):
        socket.socket.recv(there.handover._socket, 1, socket.MSG_PEEK)
    here.accept(connect()[1])
    assert there.handover.fileno() >= 0
    assert socket.socket.recv(there.handover._socket, 1, socket.MSG_PEEK)


# --- when it is not possible -----------------------------------------------------------------------------------------


def test_a_worker_that_does_not_look_gets_a_few_and_the_rest_is_kept(
    start: Start, hang: Hang, connect: Connect
) -> None:
    here = start(0, 2)
    hang(1, 2)
    kept = [connect() for _ in range(3 * MOST_COMING)]
    handed = [here.accept(accepted) for _, accepted in kept]
    assert sum(handed) == MOST_COMING
    assert all(accepted.fileno() >= 0 for accepted in here.connections)


def test_a_worker_whose_socket_is_full_gets_no_more_and_the_rest_is_kept(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_table, "MOST_COMING", sys.maxsize)
    here, there = start(0, 2), start(1, 2)
    room = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
    client, accepted = connect()
    handed = [here.handover.place(accepted.dup(), sys.maxsize // 2) for _ in range(room)]
    assert all(handed)
    kept = accepted.dup()
    assert not here.handover.place(kept, sys.maxsize // 2)
    assert kept.fileno() >= 0
    kept.close()
    there.look()
    assert len(there.connections) == min(room, MOST_AT_ONCE)
    del client


def test_a_dead_worker_gets_nothing_though_its_count_is_low(start: Start, hang: Hang, connect: Connect) -> None:
    here = start(0, 2)
    dead = hang(1, 2)
    dead.kill()
    dead.wait(PATIENCE_S)
    client, accepted = connect()
    assert not here.handover.place(accepted, 100)
    accepted.sendall(b"alive")
    assert client.recv(100) == b"alive"
    assert here.handover._table.load(1) is None  # so nobody tries again


def test_instead_of_a_dead_worker_the_next_one_gets_it(start: Start, hang: Hang, connect: Connect) -> None:
    here, other = start(0, 3), start(2, 3)
    other._add(connect()[1])
    dead = hang(1, 3)
    dead.kill()
    dead.wait(PATIENCE_S)
    assert here.handover.place(connect()[1], 100)
    other.look()
    assert len(other.connections) == 2


def test_what_a_killed_worker_had_not_received_does_not_count_for_its_successor(
    start: Start, hang: Hang, connect: Connect
) -> None:
    here, dead = start(0, 2), hang(1, 2)
    clients = [connect() for _ in range(3)]
    assert all(here.handover.place(accepted, 100) for _, accepted in clients)
    dead.kill()
    dead.wait(PATIENCE_S)
    for client, _ in clients:  # the kernel says so to the client, at once
        assert client.recv(1) == b""
    successor = start(1, 2)
    assert successor.handover._row == 1
    assert here.handover._table.load(1) == 0
    assert here.handover.place(connect()[1], 1)
    assert here.handover._table.load(1) == 1
    successor.look()
    assert here.handover._table.load(1) == 1


def test_while_another_process_keeps_the_lock_connections_are_kept(
    runtime: Path, start: Start, connect: Connect
) -> None:
    here, _ = start(0, 2), start(1, 2)
    other = ConnectionTable(runtime, 2)
    other.lock()
    assert not here.handover.place(connect()[1], 100)
    other.close()  # as its process ends
    assert here.handover.place(connect()[1], 100)


def test_a_count_that_a_sender_did_not_live_to_note_is_right_again_after_the_next_connection(
    start: Start, connect: Connect
) -> None:
    here, there = start(0, 2), start(1, 2)
    table = here.handover._table
    assert here.handover.place(connect()[1], 100)
    table.note_handed(1, table.next_number(1) - 2)  # it was sent, and the note is lost
    there.look()
    assert table.load(1) == 1
    assert here.handover.place(connect()[1], 100)
    there.look()
    assert table.load(1) == 2
    assert table.coming(1) == 0


# --- beginning and end -----------------------------------------------------------------------------------------------


def test_a_worker_that_ends_hands_on_what_it_was_handed(start: Start, connect: Connect) -> None:
    here, ending, other = (start(number, 3) for number in range(3))
    other._add(connect()[1])
    client, accepted = connect()
    client.sendall(b"hello")
    assert here.handover.place(accepted, 100)
    assert here.handover._table.coming(1) == 1
    ending.handover.close()
    other.look()
    here.look()
    (moved,) = here.connections
    assert moved.recv(100) == b"hello"


def test_a_worker_that_ends_gets_nothing_more(start: Start, connect: Connect) -> None:
    here, ending = start(0, 2), start(1, 2)
    ending.handover.close()
    ending.handover.count(0)  # its last clients go
    assert not here.handover.place(connect()[1], 100)
    assert not ending.handover.place(connect()[1], 100)


def test_a_sender_that_has_chosen_a_worker_which_ends_just_then_keeps_the_connection(
    start: Start, connect: Connect
) -> None:
    here, ending = start(0, 2), start(1, 2)
    ending.handover._socket.shutdown(socket.SHUT_RD)
    assert not here.handover.place(connect()[1], 100)
    assert here.handover._table.load(1) is None


def test_the_last_worker_closes_what_nobody_takes(start: Start, connect: Connect) -> None:
    here, ending = start(0, 2), start(1, 2)
    client, accepted = connect()
    assert here.handover.place(accepted, 100)
    here.handover.close()
    ending.handover.close()
    assert client.recv(1) == b""


def test_a_worker_and_its_successor_are_not_in_each_others_way(runtime: Path, start: Start, connect: Connect) -> None:
    here, old = start(0, 2), start(1, 2)
    old._add(connect()[1])
    old._add(connect()[1])
    new = start(1, 2)
    assert here.handover.place(connect()[1], 100)
    old.handover.close()
    old.handover.count(1)
    assert here.handover.place(connect()[1], 100)
    new.look()
    assert len(new.connections) == 2
    # And the next one takes the place that is free.
    third = start(1, 2)
    assert {SOCKETS.format(row) for row in (0, 1, 3)} <= {path.name for path in runtime.iterdir()}
    new.handover.close()
    assert here.handover.place(connect()[1], 100)
    third.look()
    assert len(third.connections) == 1


def test_there_are_never_three_of_one_number(runtime: Path, start: Start) -> None:
    start(0, 1)
    start(0, 1)
    before = psutil.Process().num_fds()
    with pytest.raises(ConfigError, match="runs twice already"):
        Handover(runtime, 0, 1)
    assert psutil.Process().num_fds() == before


def test_a_directory_that_cannot_be_used_is_an_error_for_the_supervisor(runtime: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        Handover(runtime / "absent", 0, 1)


def test_no_descriptor_is_left_behind(runtime: Path, connect: Connect) -> None:
    connect()
    before = psutil.Process().num_fds()
    workers = [Worker(runtime, number, 2) for number in range(2)]
    clients = []
    for _ in range(40):
        client, accepted = connect()
        clients.append(client)
        workers[0].accept(accepted)
        workers[1].look()
    for client in clients:
        client.close()
    for worker in workers:
        worker.close()
    assert psutil.Process().num_fds() == before
    assert [path.name for path in runtime.iterdir()] == [connection_table.FILE]


def test_a_client_that_has_gone_before_its_connection_is_received_does_no_harm(start: Start, connect: Connect) -> None:
    here, there = start(0, 2), start(1, 2)
    client, accepted = connect()
    assert here.handover.place(accepted, 100)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    there.look()
    assert len(there.connections) == 1


def test_a_stopped_process_that_goes_on_finds_what_was_handed_to_it(hang: Hang, start: Start, connect: Connect) -> None:
    here, stopped = start(0, 2), hang(1, 2)
    os.kill(stopped.pid, signal.SIGSTOP)
    client, accepted = connect()
    assert here.handover.place(accepted, 100)
    client.setblocking(False)  # noqa: FBT003
    with pytest.raises(BlockingIOError):
        client.recv(1)  # it waits, and is not reset
    assert here.handover._table.coming(1) == 1

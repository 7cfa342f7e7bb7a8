import gc
import itertools
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sidecar.errors import ConfigError
from sidecar.processes import connection_table
from sidecar.processes.connection_table import MOST_COMING, SUPERVISOR, ConnectionTable
from sidecar.processes.handover import MOST_AT_ONCE, Handover
from sidecar.processes.placer import Placer, open_inbox, take

PATIENCE_S = 30.0
LIMIT = 1000


class Worker:
    """One worker's bookkeeping, as the transport does it."""

    def __init__(self, stage: "Stage", number: int, process: int) -> None:
        self.process = process
        inbox = stage.inboxes[number].dup()  # as a child inherits it
        self.handover = Handover(stage.runtime, number, len(stage.inboxes), inbox, process)
        self.connections: list[socket.socket] = []

    def accept(self, connection: socket.socket) -> bool:
        """Gives whether it was handed over."""
        if self.handover.place(connection, len(self.connections)):
            return True
        self.add(connection)
        return False

    def look(self) -> None:
        for connection in self.handover.receive():
            self.add(connection)

    def add(self, connection: socket.socket) -> None:
        self.connections.append(connection)
        self.handover.count(len(self.connections))

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self.handover.close()


class Stage:
    """A supervisor's part, and workers with process ids of their own though all are in this process."""

    def __init__(self, runtime: Path, workers: int) -> None:
        self.runtime = runtime
        self.table = ConnectionTable(runtime, workers)
        self.placer = Placer(runtime, self.table, self.table.supervisor)
        self.inboxes = [open_inbox(runtime, number) for number in range(workers)]
        self._process = itertools.count(1000)
        self._started: list[Worker] = []

    def prepare(self, number: int) -> Worker:
        """A worker that does not serve yet."""
        self._started.append(Worker(self, number, next(self._process)))
        return self._started[-1]

    def start(self, number: int) -> Worker:
        worker = self.prepare(number)
        self.table.set_process(number, worker.process)
        return worker

    def load(self, number: int) -> int:
        return self.table.loads()[number]

    def close(self) -> None:
        for worker in self._started:
            worker.close()
        self.placer.close()
        for inbox in self.inboxes:
            inbox.close()


@pytest.fixture
def stage() -> Iterator[Callable[[int], Stage]]:
    """Sets a stage for so many workers."""
    # pytest's own paths are too long for the names of Unix sockets.
    runtime = Path(tempfile.mkdtemp(prefix="router-"))
    made: list[Stage] = []

    def set_up(workers: int) -> Stage:
        made.append(Stage(Path(tempfile.mkdtemp(dir=runtime)), workers))
        return made[-1]

    yield set_up
    for each in made:
        each.close()
    shutil.rmtree(runtime)


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


SetUp = Callable[[int], Stage]
Connect = Callable[[], tuple[socket.socket, socket.socket]]

# --- balance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [2, 4])
def test_four_connections_that_all_land_on_one_worker_end_evenly(stage: SetUp, connect: Connect, amount: int) -> None:
    scene = stage(amount)
    workers = [scene.start(number) for number in range(amount)]
    for _ in range(4):
        workers[0].accept(connect()[1])
    for worker in workers:
        worker.look()
    assert [len(worker.connections) for worker in workers] == [4 // amount] * amount


def test_what_was_handed_over_counts_before_its_new_worker_looks(stage: SetUp, connect: Connect) -> None:
    scene = stage(3)
    busy, also_busy, idle = (scene.start(number) for number in range(3))
    for worker in (busy, also_busy):
        for _ in range(2):
            worker.add(connect()[1])
    assert busy.accept(connect()[1])
    assert also_busy.accept(connect()[1])
    # The idle one has two on their way by now, which is no less than the others have.
    assert scene.load(2) == 2
    assert not busy.accept(connect()[1])
    assert not also_busy.accept(connect()[1])
    idle.look()
    assert len(idle.connections) == scene.load(2) == 2


def test_a_worker_counts_what_is_on_its_way_to_it_as_its_own(stage: SetUp, connect: Connect) -> None:
    scene = stage(3)
    busy, filling = scene.start(0), scene.start(1)
    busy.add(connect()[1])
    assert busy.accept(connect()[1])
    idle = scene.start(2)
    assert filling.accept(connect()[1])
    idle.look()
    assert len(idle.connections) == 1


def test_a_worker_with_as_many_as_the_others_serves_by_itself(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
    assert not here.accept(connect()[1])
    assert not there.accept(connect()[1])
    assert not here.accept(connect()[1])


def test_the_only_worker_serves_by_itself(stage: SetUp, connect: Connect) -> None:
    here = stage(1).start(0)
    assert [here.accept(connect()[1]) for _ in range(4)] == [False] * 4


def test_connections_that_go_make_room(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
    for worker in (here, there):
        worker.add(connect()[1])
    assert not here.accept(connect()[1])
    there.connections.pop()
    there.handover.count(0)
    assert here.accept(connect()[1])


def test_what_a_client_sent_before_the_handover_is_read_after_it_and_answered(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
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


def test_a_worker_that_does_not_serve_yet_gets_nothing(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, loading = scene.start(0), scene.prepare(1)
    assert [here.accept(connect()[1]) for _ in range(3)] == [False] * 3
    scene.table.set_process(1, loading.process)
    assert here.accept(connect()[1])


def test_what_was_handed_over_can_be_watched_for(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
    watched = socket.socket(fileno=there.handover.fileno())
    here.add(connect()[1])
    with pytest.raises(BlockingIOError):
        watched.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    assert here.accept(connect()[1])
    assert watched.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    watched.detach()


def test_in_one_turn_only_so_many_are_received_and_the_rest_in_the_next(
    stage: SetUp, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.processes.handover.MOST_AT_ONCE", 2)
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
    for _ in range(3):
        assert here.handover.place(connect()[1], LIMIT)
    there.look()
    assert len(there.connections) == 2
    there.look()
    assert len(there.connections) == 3


# --- when it is not possible -----------------------------------------------------------------------------------------


def test_a_worker_that_does_not_look_gets_a_few_and_the_rest_is_kept(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, _ = scene.start(0), scene.start(1)
    made = [connect()[1] for _ in range(3 * MOST_COMING)]
    assert sum(here.accept(accepted) for accepted in made) == MOST_COMING
    assert all(accepted.fileno() >= 0 for accepted in here.connections)


def test_a_worker_with_a_full_inbox_gets_no_more_and_its_load_stays_right(
    stage: SetUp, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_table, "MOST_COMING", sys.maxsize)
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
    while here.handover.place(connect()[1], LIMIT):
        assert scene.load(1) < LIMIT
    room = scene.load(1)
    client, kept = connect()
    assert not here.handover.place(kept, LIMIT)
    assert scene.load(1) == room
    kept.sendall(b"alive")
    assert client.recv(100) == b"alive"
    there.look()
    assert len(there.connections) == min(room, MOST_AT_ONCE)
    assert here.handover.place(kept, LIMIT)


def test_instead_of_a_worker_with_a_full_inbox_the_next_one_gets_it(
    stage: SetUp, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_table, "MOST_COMING", sys.maxsize)
    scene = stage(3)
    here, _ = scene.start(0), scene.start(1)
    while here.handover.place(connect()[1], LIMIT):
        assert scene.load(1) < LIMIT
    next_one = scene.start(2)
    next_one.handover.count(LIMIT // 2)
    assert here.handover.place(connect()[1], LIMIT)
    next_one.look()
    assert len(next_one.connections) == 1


def test_a_dead_worker_gets_nothing_though_its_count_is_low(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, _ = scene.start(0), scene.start(1)
    scene.table.set_process(1, 0)
    assert scene.load(1) == -1
    assert not here.handover.place(connect()[1], LIMIT)


def test_when_the_supervisor_is_gone_connections_are_kept(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
    there.handover.close()
    for inbox in scene.inboxes:
        inbox.close()
    assert not here.handover.place(connect()[1], LIMIT)
    assert scene.load(1) == 0


def test_a_connection_that_was_closed_meanwhile_is_left_to_the_caller(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, _ = scene.start(0), scene.start(1)
    _, accepted = connect()
    accepted.close()
    assert not here.handover.place(accepted, LIMIT)
    assert scene.load(1) == 0


def test_a_client_that_has_gone_before_its_connection_is_received_does_no_harm(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
    client, accepted = connect()
    assert here.handover.place(accepted, LIMIT)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    client.close()
    there.look()
    (moved,) = there.connections
    with pytest.raises(ConnectionResetError):
        moved.recv(1)


# --- deaths, and successors ------------------------------------------------------------------------------------------


def test_what_a_dead_worker_had_not_received_is_its_successors(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, dead = scene.start(0), scene.start(1)
    dead.add(connect()[1])
    client, accepted = connect()
    client.sendall(b"hello")
    assert here.handover.place(accepted, LIMIT)
    dead.close()
    scene.table.set_process(1, 0)
    successor = scene.start(1)
    assert scene.load(1) == 1
    successor.look()
    assert scene.load(1) == 1
    assert successor.connections[0].recv(100) == b"hello"


def test_what_the_supervisor_takes_out_of_a_dead_workers_inbox_is_on_its_way_no_more(
    stage: SetUp, connect: Connect
) -> None:
    scene = stage(3)
    here, dead, other = (scene.start(number) for number in range(3))
    assert here.handover.place(connect()[1], LIMIT)
    dead.close()
    scene.table.set_process(1, 0)
    (waiting,) = take(scene.inboxes[1], scene.table, 1, SUPERVISOR)
    other.add(connect()[1])
    assert scene.placer.place(waiting, scene.table.serving())
    here.look()
    assert len(here.connections) == 1
    scene.start(1)
    assert scene.load(1) == 0


def test_a_worker_and_its_successor_do_not_disturb_each_others_counts(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, old = scene.start(0), scene.start(1)
    for _ in range(3):
        old.add(connect()[1])
    new = scene.prepare(1)
    new.add(connect()[1])
    assert scene.load(1) == 3
    scene.table.set_process(1, new.process)
    assert scene.load(1) == 1
    # The old one has one more to take, and goes on losing its clients.
    assert here.handover.place(connect()[1], LIMIT)
    assert scene.load(1) == 2
    old.look()
    old.handover.count(2)
    assert scene.load(1) == 1
    old.handover.close()
    old.handover.count(1)
    assert old.handover.receive() == []
    assert not old.handover.place(connect()[1], LIMIT)
    assert here.handover.place(connect()[1], LIMIT)
    new.look()
    assert len(new.connections) == 2


def test_after_a_successor_that_was_given_up_the_old_ones_count_holds(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    old = scene.start(1)
    for _ in range(2):
        given_up = scene.prepare(1)
        for _ in range(3):
            given_up.add(connect()[1])
        given_up.close()
        old.add(connect()[1])
        assert scene.load(1) == len(old.connections)


def test_many_successors_in_a_row_share_two_slots(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    here, old = scene.start(0), scene.start(1)
    for _ in range(5):
        new = scene.start(1)
        old.close()
        assert here.handover.place(connect()[1], LIMIT)
        new.look()
        assert scene.load(1) == 1
        old = new


def test_what_the_death_of_a_sender_leaves_wrong_is_right_after_its_successors_next_connection(
    stage: SetUp, connect: Connect
) -> None:
    scene = stage(2)
    here, there = scene.start(0), scene.start(1)
    slot = scene.table.sender(0, 0)
    scene.table.note_sent(slot, 1)  # and it dies before it sends
    assert scene.load(1) == 1
    assert here.handover.place(connect()[1], LIMIT)
    there.look()
    assert scene.load(1) == 1
    assert len(there.connections) == 1


# --- end -------------------------------------------------------------------------------------------------------------


def test_no_descriptor_is_left_behind(stage: SetUp, connect: Connect) -> None:
    scene = stage(2)
    connect()
    gc.collect()
    before = psutil.Process().num_fds()
    workers = [scene.prepare(number) for number in range(2)]
    for number, worker in enumerate(workers):
        scene.table.set_process(number, worker.process)
    clients = []
    for _ in range(40):
        client, accepted = connect()
        clients.append(client)
        workers[0].accept(accepted)
        workers[1].look()
    assert [len(worker.connections) for worker in workers] == [20, 20]
    for client in clients:
        client.close()
    for worker in workers:
        worker.close()
    scene._started.clear()
    del worker, workers
    gc.collect()  # an mmap has a descriptor too
    assert psutil.Process().num_fds() == before


def test_a_directory_that_cannot_be_used_is_an_error_for_the_supervisor(stage: SetUp, tmp_path: Path) -> None:
    inbox = stage(1).inboxes[0]
    with pytest.raises(ConfigError, match="cannot be used: No such file"):
        Handover(tmp_path / "absent", 0, 1, inbox)

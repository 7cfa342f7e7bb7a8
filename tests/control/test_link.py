import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec
import pytest

from sidecar.control import frames
from sidecar.control.link import Command, Link
from sidecar.control.messages import (
    Beat,
    Done,
    Happened,
    Hello,
    ListBundles,
    Operate,
    Others,
    Prepare,
    Result,
    Run,
    Sample,
    State,
    Target,
    ToControl,
)
from sidecar.errors import Unavailable
from sidecar.stats import Stats

PATIENCE_S = 30.0
DECODER: "msgspec.msgpack.Decoder[Any]" = msgspec.msgpack.Decoder(ToControl)
RUNNING = State(Target("/registry/v1", "tiny 1", "11"))


class Control:
    """Stands for the control process, on a real socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)
        self.connection: socket.socket | None = None

    def accept(self) -> Hello:
        self.pick_up()
        hello: Hello = self.read()
        return hello

    def pick_up(self) -> None:
        self.connection, _ = self._listener.accept()
        self.connection.settimeout(PATIENCE_S)

    def greet(self) -> None:
        """Returns when the worker hears us, and we it."""
        self.send(Sample(0, 0))
        assert self.read() == Done(0)

    def read(self) -> Any:
        assert self.connection is not None
        return frames.receive(self.connection, DECODER)

    def send(self, message: Any) -> None:
        assert self.connection is not None
        self.connection.sendall(frames.encode(message))

    def hang_up(self) -> None:
        assert self.connection is not None
        self.connection.close()

    def die(self) -> None:
        self._path.unlink()
        self._listener.close()
        if self.connection is not None:
            self.connection.close()


class Worker:
    """The worker's side."""

    def __init__(self, path: Path) -> None:
        self.state = State()
        self.carry_out: Callable[[Command], Done] = lambda command: Done(command.id)
        self.others: SimpleQueue[Others] = SimpleQueue()
        self.events: SimpleQueue[Happened | State] = SimpleQueue()
        self.link = Link(
            path,
            hello=lambda: Hello(3, 1234, self.state),
            carry_out=lambda command: self.carry_out(command),  # noqa: PLW0108 - a test may change it
            others=self.others.put,
            happened=self.events.put,
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def control(path: Path) -> Iterator[Control]:
    control = Control(path)
    yield control
    if path.exists():
        control.die()


@pytest.fixture
def worker(path: Path) -> Iterator[Worker]:
    worker = Worker(path)
    yield worker
    worker.link.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_it_says_hello_and_is_told_what_to_run(control: Control, worker: Worker) -> None:
    worker.link.start()
    assert control.accept() == Hello(3, 1234, State())
    control.send(Run(RUNNING))
    assert worker.link.assignment(PATIENCE_S) == RUNNING
    assert worker.events.get(timeout=PATIENCE_S) == RUNNING


def test_without_a_control_process_there_is_no_assignment_and_nobody_hears(worker: Worker) -> None:
    worker.link.start()
    assert worker.link.assignment(0.01) is None
    assert not worker.link.tell(Beat(0.0, Stats()))
    with pytest.raises(Unavailable, match="not there"):
        worker.link.operate(ListBundles(), PATIENCE_S)


def test_a_command_is_carried_out_and_answered(control: Control, worker: Worker) -> None:
    worker.link.start()
    control.accept()
    control.send(Sample(7, 0))
    assert control.read() == Done(7)


def test_commands_are_carried_out_one_at_a_time_in_their_order(control: Control, worker: Worker) -> None:
    running = threading.Lock()

    def alone(command: Command) -> Done:
        assert running.acquire(blocking=False)
        running.release()
        return Done(command.id)

    worker.carry_out = alone
    worker.link.start()
    control.accept()
    for number in range(20):
        control.send(Sample(number, 0))
    assert [control.read().id for _ in range(20)] == list(range(20))


def test_it_hears_of_others_and_of_events_while_a_command_lasts(control: Control, worker: Worker) -> None:
    go_on = threading.Event()
    worker.carry_out = lambda command: Done(command.id, "" if go_on.wait(PATIENCE_S) else "late")
    worker.link.start()
    control.accept()
    control.send(Prepare(1, Target("/registry/v2")))
    control.send(Others(2, Stats(invalid=5)))
    control.send(event := Happened(1.0, "REFUSED", "why", RUNNING))
    assert worker.others.get(timeout=PATIENCE_S) == Others(2, Stats(invalid=5))
    assert worker.events.get(timeout=PATIENCE_S) == event
    go_on.set()
    assert control.read() == Done(1)


def test_operations_are_told_apart_by_their_numbers(control: Control, worker: Worker, pool: ThreadPoolExecutor) -> None:
    worker.link.start()
    control.accept()
    control.greet()
    futures: list[Future[Result]] = []
    asked: list[Operate] = []
    for _ in range(3):
        futures.append(pool.submit(worker.link.operate, ListBundles(), PATIENCE_S))
        asked.append(control.read())
    for operate in reversed(asked):
        control.send(Result(operate.id, error=str(operate.id)))
    assert [future.result(PATIENCE_S).error for future in futures] == [str(operate.id) for operate in asked]


def test_an_operation_ends_when_the_control_process_does(
    control: Control, worker: Worker, pool: ThreadPoolExecutor
) -> None:
    worker.link.start()
    control.accept()
    control.greet()
    future = pool.submit(worker.link.operate, ListBundles(), PATIENCE_S)
    control.read()
    control.hang_up()
    with pytest.raises(Unavailable, match="ended meanwhile"):
        future.result(PATIENCE_S)


def test_an_operation_that_takes_too_long_is_given_up_and_its_late_answer_hurts_nobody(
    control: Control, worker: Worker
) -> None:
    worker.link.start()
    control.accept()
    control.greet()
    with pytest.raises(Unavailable, match=r"did not answer within 0\.05 s"):
        worker.link.operate(ListBundles(), 0.05)
    late = control.read()
    control.send(Result(late.id))
    control.send(Sample(1, 0))
    assert control.read() == Done(1)


def test_it_finds_a_new_control_process_by_itself(control: Control, worker: Worker, path: Path) -> None:
    worker.link.start()
    control.accept()
    worker.state = RUNNING
    control.die()
    again = Control(path)
    assert again.accept() == Hello(3, 1234, RUNNING)
    again.greet()
    assert worker.link.tell(Beat(0.0, Stats()))
    assert again.read() == Beat(0.0, Stats())
    again.die()


def test_nonsense_breaks_the_link_and_it_is_made_again(control: Control, worker: Worker) -> None:
    worker.link.start()
    control.accept()
    assert control.connection is not None
    control.connection.sendall(b"\0\0\0\1\xc1")
    old = control.connection
    control.accept()
    old.close()
    control.send(Sample(1, 0))
    assert control.read() == Done(1)


def test_a_command_that_outlives_its_control_process_is_not_answered_to_the_next(
    control: Control, worker: Worker, path: Path
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(command: Command) -> Done:
        if isinstance(command, Prepare):
            began.set()
            assert go_on.wait(PATIENCE_S)
            worker.state = RUNNING
        return Done(command.id, type(command).__name__)

    worker.carry_out = slow
    worker.link.start()
    control.accept()
    control.send(Prepare(1, Target("/registry/v2")))
    control.send(Prepare(2, Target("/registry/v3")))  # waits for its turn, and never gets it
    assert began.wait(PATIENCE_S)
    began.clear()
    control.die()
    again = Control(path)
    again.pick_up()  # so it knows that the other one is gone
    go_on.set()
    # What it changed is told to the next one, which gives the same numbers to other commands.
    assert again.read() == Hello(3, 1234, RUNNING)
    again.send(Sample(1, 0))
    assert again.read() == Done(1, "Sample")
    again.send(Sample(2, 0))
    assert again.read() == Done(2, "Sample")
    assert not began.is_set()
    again.die()


def test_a_control_process_that_does_not_read_holds_nobody_up(
    control: Control, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.control.link.SEND_S", 1)
    worker.link.start()
    control.accept()
    control.greet()
    large = Done(0, "x" * (1 << 20))
    while worker.link.tell(large):
        pass
    # It hung up, since half a message may be on its way; and connects anew.
    old = control.connection
    control.accept()
    assert old is not None
    old.close()
    control.send(Sample(1, 0))
    assert control.read() == Done(1)


def test_closing_hangs_up(control: Control, worker: Worker) -> None:
    worker.link.start()
    control.accept()
    control.greet()
    worker.link.close()
    assert control.connection is not None
    assert control.connection.recv(1) == b""
    assert not worker.link.tell(Beat(0.0, Stats()))

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sidecar.scoring.pace import Limits, Pace
from sidecar.scoring.ragged import Outputs, Rows
from sidecar.scoring.runner import Runner, Ticket
from tests.standin import PATIENCE_S, until


class Model:
    """Gives each row its first token id; runs one batch each time it is let go."""

    def __init__(self) -> None:
        self.ran: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.threads: set[str] = set()

    def __call__(self, rows: Rows) -> Outputs:
        self.entered.release()
        assert self.go.acquire(timeout=PATIENCE_S)
        self.threads.add(threading.current_thread().name)
        self.ran.append([row[0] for row in rows])
        if any(row[0] < 0 for row in rows):
            raise ValueError("no such token")
        firsts = np.array([[row[0]] for row in rows], np.float32)
        return firsts, firsts, firsts

    def free(self) -> None:
        for _ in range(100):
            self.go.release()


def quality(ticket: Ticket) -> list[float]:
    return [float(value) for value in ticket.outputs()[0][:, 0]]


def test_what_waits_when_the_model_gets_free_is_run_together_and_each_gets_its_own() -> None:
    model = Model()
    runner = Runner(model, Pace(Limits(4, 10.0)))
    tickets = [runner.submit([[1]])]
    assert model.entered.acquire(timeout=PATIENCE_S)
    tickets += [runner.submit([[number]]) for number in (2, 3)] + [runner.submit([[4], [5], [6]])]
    model.free()
    assert [quality(ticket) for ticket in tickets] == [[1.0], [2.0], [3.0], [4.0, 5.0, 6.0]]
    assert model.ran == [[1], [2, 3], [4, 5, 6]]  # with the last one it would have been five


def test_the_model_runs_in_one_thread_of_its_own() -> None:
    model = Model()
    model.free()
    runner = Runner(model, Pace(Limits(4, 10.0)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: runner.submit([[number]]).outputs(), range(40)))
    assert model.threads == {"runner"}


def test_an_error_goes_to_those_who_were_run_together_and_to_nobody_else() -> None:
    model = Model()
    model.free()
    runner = Runner(model, Pace(Limits(4, 10.0)))
    with pytest.raises(ValueError, match="no such token"):
        runner.submit([[-1]]).outputs()
    assert quality(runner.submit([[7]])) == [7.0]


def test_whoever_waits_is_woken_once_whether_it_was_done_before_or_after() -> None:
    model = Model()
    runner = Runner(model, Pace(Limits(1, 10.0)))
    woken: list[str] = []
    before = runner.submit([[1]])
    before.then(lambda: woken.append("before"))
    assert not before.done
    model.free()
    before.outputs()
    until(lambda: woken == ["before"])
    after = runner.submit([[2]])
    after.outputs()
    after.then(lambda: woken.append("after"))
    assert woken == ["before", "after"]


def test_other_work_is_done_between_two_runs_in_the_same_thread() -> None:
    model = Model()
    model.free()
    runner = Runner(model, Pace(Limits(1, 10.0)))
    assert runner.call(lambda: threading.current_thread().name) == "runner"
    with pytest.raises(ZeroDivisionError):
        runner.call(lambda: 1 // 0)
    assert quality(runner.submit([[7]])) == [7.0]


def test_the_thread_ends_with_its_runner() -> None:
    model = Model()
    model.free()
    threads = set(threading.enumerate())
    runner = Runner(model, Pace(Limits(1, 10.0)))
    (thread,) = set(threading.enumerate()) - threads
    runner.submit([[1]]).outputs()
    del runner
    gc.collect()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_runs_are_learned_from() -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            self.now += 0.5
            return self.now

    model = Model()
    model.free()
    pace = Pace(Limits(8, 1.0))
    Runner(model, pace, Clock()).submit([[1], [2]]).outputs()
    until(lambda: pace.rows == 4)

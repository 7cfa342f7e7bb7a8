import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.control.messages import (
    BEAT_S,
    Activate,
    Beat,
    Done,
    Happened,
    Operate,
    Others,
    Result,
    Sample,
    State,
    Target,
)
from sidecar.control.workers import WorkerGone, Workers
from sidecar.stats import Stats
from tests.control.workers import PATIENCE_S, FakeWorker, served

STATE = State(Target("/registry/v1", "tiny 1", "11"))


class Desk:
    """Workers at a socket."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.path = Path()
        self.fakes: list[FakeWorker] = []

    async def join(self, number: int = 0) -> FakeWorker:
        self.fakes.append(FakeWorker(number))
        return await self.fakes[-1].connect(self.path)

    async def until(self, amount: int) -> None:
        for _ in range(10_000):
            if len(self.workers) == amount:
                return
            await asyncio.sleep(0.001)
        raise AssertionError

    async def until_beaten(self, count: int) -> None:
        for _ in range(10_000):
            if sum(worker.beat.stats.invalid for worker in self.workers) == count:
                return
            await asyncio.sleep(0.001)
        raise AssertionError


async def carry_out(message: Operate) -> Result:
    return Result(message.id, state=STATE)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(Workers(lambda _hello: STATE, carry_out))
    async with served(desk.workers, tmp_path, desk.fakes) as desk.path:
        yield desk


def sample(number: int) -> Sample:
    return Sample(number, 0)


async def test_who_connects_is_told_what_to_run_and_is_there_until_it_goes(desk: Desk) -> None:
    worker = await desk.join(5)
    assert worker.greeting == STATE
    (known,) = desk.workers
    assert (known.number, known.pid) == (5, worker.pid)
    worker.die()
    await desk.until(0)


async def test_an_operation_comes_back_to_whoever_passed_it_on(desk: Desk) -> None:
    one, other = await desk.join(0), await desk.join(1)
    one.send(Operate(7, Activate("v2")))
    assert (await one.until(lambda: one.told))[0] == Result(7, state=STATE)
    assert other.told == []


async def test_a_command_is_answered_by_its_number(desk: Desk) -> None:
    worker = await desk.join()
    (known,) = desk.workers
    worker.on[Sample] = lambda command: worker.send(Done(command.id + 1000)) or Done(command.id, "", STATE)  # type: ignore[func-returns-value]
    assert (await known.ask(sample, PATIENCE_S)).state == STATE
    assert known.state == STATE


async def test_a_worker_that_ends_in_the_midst_of_a_command_is_gone(desk: Desk) -> None:
    worker = await desk.join()
    (known,) = desk.workers
    worker.on[Sample] = lambda _command: worker.die()
    with pytest.raises(WorkerGone, match="ended"):
        await known.ask(sample, PATIENCE_S)


async def test_asking_one_that_has_just_gone_does_not_wait(desk: Desk) -> None:
    worker = await desk.join()
    (known,) = desk.workers
    worker.die()
    await desk.until(0)
    with pytest.raises(WorkerGone, match="ended"):
        await asyncio.wait_for(known.ask(sample, 10 * PATIENCE_S), PATIENCE_S)


async def test_one_that_does_not_answer_is_waited_for_so_long_and_its_late_answer_is_ignored(desk: Desk) -> None:
    worker = await desk.join()
    (known,) = desk.workers
    late: list[Any] = []
    worker.on[Sample] = late.append
    with pytest.raises(WorkerGone, match=r"did not answer within 0\.01 s"):
        await known.ask(sample, 0.01)
    await worker.until(lambda: late)
    worker.send(Done(late[0].id, "", State()))
    del worker.on[Sample]
    assert not (await known.ask(sample, PATIENCE_S)).error


async def test_nonsense_ends_the_connection(desk: Desk) -> None:
    worker = await desk.join()
    worker._writer.write(b"\0\0\0\1\xc1")
    await desk.until(0)


async def test_a_process_is_killed_and_one_that_is_gone_is_left_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    worker = await desk.join()
    (known,) = desk.workers

    def kill(pid: int, number: int) -> None:
        killed.append((pid, number))
        worker.die()

    monkeypatch.setattr(os, "kill", kill)
    await known.kill()
    assert killed == [(worker.pid, signal.SIGKILL)]
    await known.kill()  # its number may be another's by now
    assert len(killed) == 1


async def test_each_is_told_what_the_others_served_and_what_is_past_counts_on(desk: Desk) -> None:
    workers = [await desk.join(number) for number in range(3)]
    for amount, worker in enumerate(workers, 1):
        worker.send(Beat(0.0, Stats(invalid=amount, window={"s": (amount, 0)})))
    await desk.until_beaten(6)
    assert desk.workers.share() == Stats(invalid=6, window={"s": (6, 0)})
    for amount, worker in enumerate(workers, 1):
        (others,) = await worker.was_told()
        assert others == Others(3, Stats(invalid=6 - amount, window={"s": (6 - amount, 0)}))
    workers[2].die()
    await desk.until(2)
    # What it served since the start stays; what it served lately is no more of interest.
    assert desk.workers.share() == Stats(invalid=6, window={"s": (3, 0)})


async def test_events_go_to_all(desk: Desk) -> None:
    workers = [await desk.join(number) for number in range(2)]
    event = Happened(1.0, "ACTIVATED", "words", STATE)
    desk.workers.tell_all(event)
    for worker in workers:
        assert await worker.heard() == [event]


async def test_whoever_is_at_one_batch_for_too_long_is_stuck(desk: Desk) -> None:
    worker = await desk.join()
    (known,) = desk.workers
    worker.send(Beat(5.0, Stats(invalid=1)))
    await desk.until_beaten(1)
    assert desk.workers.stuck(4.9, known.heard) == [known]
    assert desk.workers.stuck(5.0, known.heard) == []


@pytest.mark.parametrize("most_s", [0.1, 10.0])
async def test_whoever_is_silent_for_too_long_is_stuck_but_a_late_beat_is_forgiven(desk: Desk, most_s: float) -> None:
    await desk.join()
    (known,) = desk.workers
    assert desk.workers.stuck(most_s, known.heard + most_s + BEAT_S) == []
    assert desk.workers.stuck(most_s, known.heard + most_s + 2 * BEAT_S + 0.01) == [known]

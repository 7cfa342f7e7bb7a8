import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from sidecar.child import Child
from sidecar.errors import ConfigError

PATIENCE_S = 30.0
# Notes its pid, says what it is told to, and ends in good order after so many seconds.
PROGRAM = """
import os, signal, sys, threading
notes, says, end_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
with open(notes, "a") as file: file.write(f"{os.getpid()}\\n")
if says == "crash": sys.exit(3)
if says.startswith("file:"): says = open(says[5:]).read()
print(says, flush=True)
while not told.wait(0.01): pass
threading.Event().wait(end_s)
"""


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Kept:
    """A child, and what became of its processes."""

    def __init__(self, directory: Path, says: str = "{}", end_s: float = 0.0, *, alone: bool = False) -> None:
        self.notes = directory / "pids"
        self.child = Child("child", ("-c", PROGRAM, str(self.notes), says, str(end_s)), alone=alone)
        self.task: asyncio.Task[None] | None = None
        self._processes: list[Any] = []
        self._spawn = self.child._spawn
        self.child._spawn = self._noting_spawn  # type: ignore[method-assign]

    async def _noting_spawn(self) -> Any:
        self._processes.append(await self._spawn())
        return self._processes[-1]

    async def start(self) -> None:
        await self.child.start()
        self.task = asyncio.ensure_future(self.child.keep())

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self.notes.read_text().split()] if self.notes.exists() else []

    def alive(self) -> list[int]:
        return [pid for pid in self.pids if _is_alive(pid)]

    async def until(self, started: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while len(self.pids) < started:
            assert time.monotonic() < end
            await asyncio.sleep(0.005)

    async def until_alive(self, pids: list[int]) -> None:
        end = time.monotonic() + PATIENCE_S
        while self.alive() != pids:
            assert time.monotonic() < end
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        await self.child.stop(PATIENCE_S)
        await self.child.kill()
        await self.until_alive([])
        if self.task is not None:
            await asyncio.wait_for(self.task, PATIENCE_S)
        for process in self._processes:
            await asyncio.wait_for(process.wait(), PATIENCE_S)
            process._transport.close()
        await asyncio.sleep(0.01)  # what is closed is really closed one turn later


@pytest.fixture
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.child.FIRST_DELAY_S", 0.001)
    monkeypatch.setattr("sidecar.child.MOST_DELAY_S", 0.01)


# --- kept alive ------------------------------------------------------------------------------------------------------


async def test_a_child_that_dies_is_started_again(tmp_path: Path, no_delay: None) -> None:
    kept = Kept(tmp_path)
    await kept.start()
    for number in range(1, 4):
        await kept.until(number)
        os.kill(kept.pids[-1], signal.SIGKILL)
    await kept.until(4)
    assert len(kept.alive()) == 1
    await kept.stop()
    assert kept.alive() == []


async def test_one_that_dies_soon_is_waited_for_longer_and_longer_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    sleep = asyncio.sleep

    async def noted(delay_s: float) -> None:
        delays.append(delay_s)
        await sleep(0)

    kept = Kept(tmp_path)
    await kept.start()
    monkeypatch.setattr("sidecar.child.asyncio.sleep", noted)
    for number in range(1, 12):
        while len(kept.pids) < number:
            await sleep(0.005)
        os.kill(kept.pids[-1], signal.SIGKILL)
    while len(delays) < 11:
        await sleep(0.005)
    monkeypatch.undo()
    assert delays[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert max(delays) == 15.0
    await kept.stop()


async def test_what_it_says_is_its_status(tmp_path: Path) -> None:
    kept = Kept(tmp_path, json.dumps({"transport": "http2"}))
    await kept.start()
    assert kept.child.status == {"transport": "http2"}
    await kept.stop()


@pytest.mark.parametrize(
    ("says", "words"),
    [(json.dumps({"error": "no candidates"}), "no candidates"), ("crash", "ended before"), ("what?", "ended before")],
)
async def test_one_that_cannot_serve_says_why(tmp_path: Path, says: str, words: str) -> None:
    kept = Kept(tmp_path, says)
    with pytest.raises(ConfigError, match=words):
        await kept.child.start()
    await kept.stop()


async def test_one_that_is_silent_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.child.READY_S", 0.05)
    child = Child("child", ("-c", "import time; time.sleep(600)"))
    with pytest.raises(ConfigError, match="was not ready"):
        await child.start()
    assert child._process is not None
    assert await child._process.wait() == -signal.SIGKILL
    child._process._transport.close()  # type: ignore[attr-defined]
    await asyncio.sleep(0.01)


async def test_one_that_is_stopped_is_not_started_again(tmp_path: Path, no_delay: None) -> None:
    kept = Kept(tmp_path)
    await kept.start()
    await kept.stop()
    assert len(kept.pids) == 1
    assert kept.alive() == []


async def test_one_that_is_stopped_while_its_restart_is_due_is_not_started_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    await kept.start()
    os.kill(kept.pids[0], signal.SIGKILL)
    assert kept.child._process is not None
    await kept.child._process.wait()
    await kept.stop()
    assert len(kept.pids) == 1


async def test_a_process_that_will_not_end_is_left_after_a_while_and_then_killed(tmp_path: Path) -> None:
    kept = Kept(tmp_path, end_s=600)
    await kept.start()
    await kept.child.stop(0.05)
    assert len(kept.alive()) == 1
    await kept.child.kill()
    await kept.until_alive([])
    await kept.stop()


async def test_it_tells_which_process_serves_and_when_none_does(tmp_path: Path, no_delay: None) -> None:
    kept = Kept(tmp_path, end_s=0.05)
    told: list[int | None] = []
    kept.child._serves = told.append
    await kept.start()
    os.kill(kept.pids[0], signal.SIGKILL)
    await kept.until(2)
    while len(told) < 3:  # noqa: ASYNC110 - it comes when the second one is ready
        await asyncio.sleep(0.005)
    await kept.child.replace(PATIENCE_S)
    assert told == [kept.pids[0], None, kept.pids[1], kept.pids[2]]
    await kept.stop()
    assert told[4] is None


# --- replacing -------------------------------------------------------------------------------------------------------


async def test_the_next_one_is_ready_before_the_old_one_ends(tmp_path: Path) -> None:
    kept = Kept(tmp_path, end_s=0.3)
    await kept.start()
    replacing = asyncio.ensure_future(kept.child.replace(PATIENCE_S))
    await kept.until(2)
    assert len(kept.alive()) == 2
    await replacing
    assert kept.alive() == kept.pids[1:]
    await kept.stop()


async def test_of_one_that_is_alone_there_are_never_two(tmp_path: Path) -> None:
    kept = Kept(tmp_path, end_s=0.1, alone=True)
    await kept.start()
    replacing = asyncio.ensure_future(kept.child.replace(PATIENCE_S))
    while not replacing.done():
        assert len(kept.alive()) <= 1
        await asyncio.sleep(0.005)
    assert len(kept.pids) == 2
    await kept.stop()


async def test_replacements_in_a_row_leave_one_process(tmp_path: Path) -> None:
    kept = Kept(tmp_path, end_s=0.05)
    await kept.start()
    await asyncio.gather(*(kept.child.replace(PATIENCE_S) for _ in range(3)))
    assert kept.alive() == kept.pids[-1:]
    assert len(kept.pids) == 4
    await kept.stop()


async def test_an_old_one_that_will_not_end_is_killed(tmp_path: Path) -> None:
    kept = Kept(tmp_path, end_s=600)
    await kept.start()
    await kept.child.replace(0.05)
    assert kept.alive() == kept.pids[1:]
    await kept.child.kill()
    await kept.stop()


@pytest.mark.parametrize("then", [{"error": "wrong"}, {"fault": "bundle v1: spoilt"}])
async def test_a_next_one_that_cannot_do_as_well_is_given_up_and_the_old_one_goes_on(
    tmp_path: Path, then: dict[str, str]
) -> None:
    says = tmp_path / "says"
    says.write_text(json.dumps({"fault": ""}))
    kept = Kept(tmp_path, f"file:{says}")
    await kept.start()
    says.write_text(json.dumps(then))
    with pytest.raises(ConfigError, match=next(iter(then.values()))):
        await kept.child.replace(PATIENCE_S)
    await kept.until_alive(kept.pids[:1])
    assert kept.child.status == {"fault": ""}
    await kept.stop()


async def test_one_that_is_degraded_can_be_replaced_by_another_degraded_one(tmp_path: Path) -> None:
    kept = Kept(tmp_path, json.dumps({"fault": "bundle v1: spoilt"}))
    await kept.start()
    await kept.child.replace(PATIENCE_S)
    assert kept.alive() == kept.pids[1:]
    await kept.stop()


async def test_one_that_dies_while_its_successor_comes_is_not_started_beside_it(tmp_path: Path, no_delay: None) -> None:
    kept = Kept(tmp_path, end_s=0.2)
    await kept.start()
    replacing = asyncio.ensure_future(kept.child.replace(PATIENCE_S))
    os.kill(kept.pids[0], signal.SIGKILL)
    await replacing
    await asyncio.sleep(0.1)  # it would have been started by now
    assert kept.alive() == kept.pids[-1:]
    # And it is kept as the first one was.
    amount = len(kept.pids)
    os.kill(kept.pids[-1], signal.SIGKILL)
    await kept.until(amount + 1)
    await kept.stop()
    assert kept.alive() == []


async def test_a_replacement_that_is_broken_off_leaves_nobody(tmp_path: Path) -> None:
    kept = Kept(tmp_path, end_s=600)
    await kept.start()
    replacing = asyncio.ensure_future(kept.child.replace(PATIENCE_S))
    await kept.until(2)
    replacing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replacing
    await kept.child.kill()
    await kept.until_alive([])
    await kept.stop()

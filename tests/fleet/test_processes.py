"""Real processes on one table, with the real clock."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.fleet.figures import Figures
from sidecar.fleet.outcome import Fault
from sidecar.fleet.table import FleetTable
from tests.fleet.router import NAMES, SETTINGS, SLOTS

DEADLINE_S = 30.0


class Process:
    def __init__(self, table: FleetTable, number: int) -> None:
        program = str(Path(__file__).with_name("router.py"))
        self.process = subprocess.Popen(
            [sys.executable, program, str(table.path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(Path.cwd())},
            text=True,
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def processes(table: FleetTable) -> Iterator[list[Process]]:
    started = [Process(table, number) for number in range(3)]
    yield started
    for process in started:
        process.end()


def until(condition: Callable[[], bool]) -> float:
    """Waits for it; gives the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < DEADLINE_S
    return time.monotonic() - began


def test_all_agree_on_what_is_in_flight_whoever_hears_the_outcomes(processes: list[Process]) -> None:
    rng = random.Random(3)
    chosen: dict[str, int] = {}
    for _ in range(12):
        answer = rng.choice(processes).ask(decide=20)
        chosen.update(zip(answer["ids"], answer["chosen"], strict=True))
    counts = Counter(chosen.values())
    expected = [float(counts[candidate]) for candidate in range(3)]
    for process in processes:
        until(lambda process=process: process.ask(look=True)["in_flight"] == expected)  # type: ignore[misc]
    # Equal waits: in proportion to the slots.
    for candidate, slots in enumerate(SLOTS):
        assert counts[candidate] == pytest.approx(240 * slots / sum(SLOTS), rel=0.15, abs=3)
    ids = list(chosen)
    rng.shuffle(ids)
    for start in range(0, len(ids), 24):
        rng.choice(processes).ask(hear=ids[start : start + 24])
    rng.choice(processes).ask(hear=ids[:50])  # once more
    for process in (*processes, *processes):
        process.ask(look=True)
    for process in processes:
        until(lambda process=process: process.ask(look=True)["in_flight"] == [0.0, 0.0, 0.0])  # type: ignore[misc]


def test_what_one_finds_out_keeps_the_others_away_too(processes: list[Process]) -> None:
    for process in processes:
        process.ask(look=True)
    answer = processes[0].ask(decide=40)
    failed = [name for name, candidate in zip(answer["ids"], answer["chosen"], strict=True) if candidate == 2][:5]
    assert len(failed) == 5
    processes[0].ask(hear=failed, fault=int(Fault.SERVER))
    assert processes[0].ask(look=True)["open"] == [False, False, True]
    for process in processes[1:]:
        until(lambda process=process: process.ask(look=True)["open"] == [False, False, True])  # type: ignore[misc]
    assert 2 not in processes[2].ask(decide=40)["chosen"]


def test_what_a_killed_process_had_in_flight_is_forgotten_and_its_section_taken_over(
    table: FleetTable, processes: list[Process]
) -> None:
    for process in processes:
        process.ask(decide=10)
    until(lambda: sum(processes[0].ask(look=True)["in_flight"]) == 30.0)
    processes[2].end()

    def left() -> float:
        processes[1].ask(look=True)  # it lives
        return float(sum(processes[0].ask(look=True)["in_flight"]))

    assert until(lambda: left() == 20.0) > SETTINGS.dead_after_seconds - 1.0
    successor = Process(table, 2)
    try:
        assert sum(successor.ask(look=True)["in_flight"]) == 20.0
        assert int((table.control[:, 1] != 0).sum()) == 3
        rows = Figures(table, SETTINGS).read(time.monotonic())
        assert [row.name for row in rows] == NAMES
        assert sum(row.decisions for row in rows) == 30.0
    finally:
        successor.end()

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cores import Cores
from benchmarks.h2load import Shot
from benchmarks.peers import peer as peers_module
from benchmarks.peers.mosec_peer import Mosec
from benchmarks.peers.ours import Ours, OursBatch
from benchmarks.peers.peer import Environment, PeerFault, Program, free_port
from benchmarks.peers.run import PEERS, compare, measure, subjects
from benchmarks.ratios import Turn


class Absent:
    """A peer that cannot be installed."""

    name = "absent 1.0"
    note = "a note"
    items = 1

    def install(self) -> None:
        raise PeerFault("pip cannot install absent")

    def start(self, bundle: Path, core: int | None) -> None:
        raise AssertionError

    def stop(self) -> None:
        raise AssertionError

    def shot(self, text: str) -> Shot:
        raise AssertionError

    def ask(self, text: str) -> bytes:
        raise AssertionError

    def connections(self, in_flight: int) -> int:
        raise AssertionError


class Present(Absent):
    name = "present 1.0"


def figures(name: str, per_second: list[float], p50_us: float) -> dict[tuple[str, int], Turn]:
    made = {}
    for level in (1, 128):
        turn = Turn(name, level, dict)
        turn.rows = [{"per_second": rate, "p50_us": p50_us, "p99_us": p50_us, "errors": {}} for rate in per_second]
        made[name, level] = turn
    return made


def test_every_peer_has_a_name_and_a_note_of_its_own() -> None:
    every = subjects(PEERS)
    assert len({peer.name for peer in every}) == len(every)
    assert all(peer.note for peer in every)


def test_a_peer_that_cannot_be_installed_is_told_and_harms_no_other(tmp_path: Path) -> None:
    turns, faults = measure([Absent()], tmp_path, "hello", 128, 1.0, 2, Cores(None, None))
    assert turns == {}
    assert faults == {"absent 1.0": "pip cannot install absent"}
    ours = Present()
    tables = compare([ours, Absent()], figures(ours.name, [100.0], 5.0), faults, 128)
    assert [row["subject"] for row in tables[0].rows] == ["present 1.0", "present 1.0", "absent 1.0: NOT MEASURED"]
    assert any("pip cannot install absent" in note for note in tables[0].notes)
    assert tables[1].rows == []


def test_ratios_are_medians_of_rounds_against_the_first() -> None:
    ours, other = Present(), Absent()
    turns = figures(ours.name, [100.0, 300.0, 200.0], 10.0) | figures(other.name, [50.0, 50.0, 50.0], 40.0)
    (row,) = compare([ours, other], turns, {}, 128)[1].rows
    assert (row["ratio"], row["lowest"], row["highest"]) == (4.0, 2.0, 6.0)
    assert row["p50_alone"] == "0.25x of its p50"


def test_batches_are_compared_by_prompts_beside_single_calls() -> None:
    ours, batch, mosec = Ours("http2"), OursBatch(), Mosec(batch=32)
    turns = figures(ours.name, [150.0], 10.0) | figures(batch.name, [210.0], 90.0) | figures(mosec.name, [100.0], 20.0)
    rows = compare([ours, batch, mosec], turns, {}, 128)[1].rows
    assert [(row["subject"], row["ratio"], row["target"], row["verdict"]) for row in rows] == [
        ("Route over mosec 0.9.8", 1.5, ">= 1.3", "met"),
        ("RouteBatch over mosec 0.9.8", 2.1, ">= 2", "met"),
    ]
    assert (ours.items, mosec.items) == (1, 1)
    assert batch.items > 1


def test_an_environment_is_made_once_for_the_same_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_options: object) -> object:
        ran.append(command)
        (tmp_path / "one").mkdir(exist_ok=True)
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(peers_module, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    Environment("one", ("x==1",)).install()
    assert [command[2] for command in ran] == ["venv", "pip"]
    Environment("one", ("x==1",)).install()
    assert len(ran) == 2
    Environment("one", ("x==2",)).install()
    assert "x==2" in ran[-1]


def test_a_program_that_ends_at_once_is_told_with_its_last_words() -> None:
    program = Program()
    program.start([sys.executable, "-c", "raise SystemExit('no such model')"], None)

    def never() -> None:
        raise OSError("refused")

    try:
        with pytest.raises(PeerFault, match="status 1: no such model"):
            program.await_answer(never)
    finally:
        program.stop()
    program.stop()


def test_a_free_port_leaves_room_for_a_second_one() -> None:
    assert 1024 < free_port() < 65535

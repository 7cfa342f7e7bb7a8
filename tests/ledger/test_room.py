import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from sidecar.ledger.room import Room


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The disk's free bytes, as one likes."""
    disk = SimpleNamespace(f_bavail=1 << 20, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    return disk


def test_decisions_stop_before_outcomes_as_the_journals_grow(tmp_path: Path, free: SimpleNamespace) -> None:
    room = Room(tmp_path, 1000, 0)
    room.look(0.0)
    states = []
    for size in (700, 49, 1, 249, 1):
        room.add(size)
        states.append((room.decisions, bool(room.refusal)))
    assert states == [(True, False), (True, False), (False, False), (False, False), (False, True)]
    assert "1000 bytes that no store has taken" in room.refusal


def test_decisions_stop_before_outcomes_as_the_disk_fills(tmp_path: Path, free: SimpleNamespace) -> None:
    room = Room(tmp_path, 1 << 40, 1000)
    states = []
    for second, left in enumerate((2000, 1999, 1000, 999, 5000)):
        free.f_bavail = left
        room.look(float(second))
        states.append((room.decisions, bool(room.refusal)))
    assert states == [(True, False), (False, False), (False, False), (False, True), (True, False)]


def test_what_others_wrote_or_removed_is_seen_within_a_second(tmp_path: Path, free: SimpleNamespace) -> None:
    room = Room(tmp_path, 1000, 0)
    room.look(0.0)
    (tmp_path / "x.journal").write_bytes(bytes(1500))
    room.look(0.9)
    assert not room.refusal
    room.look(1.0)
    assert room.refusal
    (tmp_path / "x.journal").unlink()
    room.look(2.0)
    assert (room.decisions, room.refusal) == (True, "")


def test_a_directory_that_is_gone_takes_nothing_until_it_is_back(tmp_path: Path) -> None:
    room = Room(tmp_path / "gone", 1000, 0)
    room.look(0.0)
    assert not room.decisions
    assert "cannot be read" in room.refusal
    (tmp_path / "gone").mkdir()
    room.look(1.0)
    assert (room.decisions, room.refusal) == (True, "")

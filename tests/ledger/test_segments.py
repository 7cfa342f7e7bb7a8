import fcntl
import os
from pathlib import Path

import pytest

from sidecar.ledger import segments


def test_a_new_segment_has_its_head_its_name_and_a_lock(tmp_path: Path) -> None:
    descriptor = segments.create(tmp_path, "w", "outcomes", 3)
    (segment,) = segments.segments(tmp_path)
    assert segment.path.name == "w-00000003-outcomes.journal"
    assert segment.path.read_bytes() == segments.HEAD
    assert segment.path.stat().st_mode & 0o777 == 0o600
    assert not segments.abandoned(segment.path)
    os.close(descriptor)
    assert segments.abandoned(segment.path)
    assert segments.abandoned(segment.path)  # asking changes nothing
    assert not segments.abandoned(tmp_path / "gone")


def test_a_segment_is_never_taken_for_abandoned_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    rename = Path.rename

    def looked_at(path: Path, target: Path) -> Path:
        seen.append((segments.segments(tmp_path), segments.abandoned(path)))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", looked_at)
    os.close(segments.create(tmp_path, "w", "outcomes", 1))
    assert seen == [([], False)]


def test_segments_are_listed_oldest_writer_first_and_all_files_are_weighed(tmp_path: Path) -> None:
    for name, size in (("b-1.journal", 3), ("a-2.journal", 4), ("a-1.journal", 5), ("x.corrupt", 6)):
        (tmp_path / name).write_bytes(bytes(size))
    assert [(each.path.name, each.size) for each in segments.segments(tmp_path)] == [
        ("a-1.journal", 5), ("a-2.journal", 4), ("b-1.journal", 3)
    ]  # fmt: skip
    assert segments.taken(tmp_path) == 18


def test_names_of_writers_are_unique(tmp_path: Path) -> None:
    assert len({segments.writer_name() for _ in range(100)}) == 100


def test_what_a_dead_writer_did_not_name_is_removed_after_a_while(tmp_path: Path) -> None:
    dead, living, fresh = (tmp_path / f".new-{name}" for name in ("dead", "living", "fresh"))
    for file in (dead, living, fresh):
        file.touch()
        os.utime(file, (1000.0, 1000.0))
    os.utime(fresh, (2000.0, 2000.0))
    with living.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        segments.tidy(tmp_path, 2000.0)
    assert {file.name for file in tmp_path.iterdir()} == {".new-living", ".new-fresh"}


def test_a_segment_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda *_: 0)
    with pytest.raises(OSError, match="full"):
        segments.create(tmp_path, "w", "outcomes", 1)
    assert list(tmp_path.iterdir()) == []

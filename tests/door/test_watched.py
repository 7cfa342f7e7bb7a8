import os
from pathlib import Path

import pytest

from sidecar.door.watched import SETTLED_SECONDS, Watched

OLD, LATER = 1_000_000.0, 1_000_000.0 + 2 * SETTLED_SECONDS


def written(path: Path, content: bytes, at: float = OLD) -> Path:
    path.write_bytes(content)
    os.utime(path, (at, at))
    return path


def test_contents_are_news_once(tmp_path: Path) -> None:
    watched = Watched([written(tmp_path / "a", b"1"), written(tmp_path / "b", b"2")], lambda: LATER)
    assert watched.news() == [b"1", b"2"]
    assert watched.news() is None
    written(tmp_path / "b", b"3")
    assert watched.news() == [b"1", b"3"]
    assert watched.news() is None


def test_what_moves_from_one_file_to_the_other_is_news(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", b"12"), written(tmp_path / "b", b"3")
    watched = Watched([a, b], lambda: LATER)
    watched.news()
    written(a, b"1")
    written(b, b"23")
    assert watched.news() == [b"1", b"23"]


def test_a_link_that_leads_elsewhere_is_news_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(written(tmp_path / "a", b"1"))
    watched = Watched([link], lambda: LATER)
    watched.news()
    (tmp_path / "next").symlink_to(written(tmp_path / "b", b"2"))
    (tmp_path / "next").replace(link)
    assert watched.news() == [b"2"]


def test_files_that_rest_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched([written(tmp_path / "a", b"1")], lambda: LATER)
    watched.news()
    monkeypatch.setattr(Path, "read_bytes", lambda _path: pytest.fail("read"))
    assert watched.news() is None


def test_a_second_change_within_one_tick_of_the_clock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a", b"1")
    stamp = path.stat()
    monkeypatch.setattr(Path, "stat", lambda _path: stamp)
    watched = Watched([path], lambda: OLD)
    assert watched.news() == [b"1"]
    path.write_bytes(b"2")
    assert watched.news() == [b"2"]


def test_a_file_that_cannot_be_read_is_raised_once_and_news_when_it_is_back(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"1")
    watched = Watched([path], lambda: LATER)
    watched.news()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        watched.news()
    assert watched.news() is None
    written(path, b"1")
    assert watched.news() == [b"1"]

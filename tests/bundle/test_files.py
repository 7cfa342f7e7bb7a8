import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.bundle import files
from sidecar.bundle.manifest import MODEL
from sidecar.errors import BundleError


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / MODEL
    path.write_bytes(b"first")
    fstat = os.fstat

    def then_grown(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        with path.open("ab") as file:
            file.write(b" and more")
        return status

    with files.opened(tmp_path) as directory:
        monkeypatch.setattr(os, "fstat", then_grown)
        with pytest.raises(BundleError, match=f"^{MODEL}: changed while it was read"):
            files.read(directory, MODEL)


def test_a_link_that_took_the_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / MODEL).symlink_to(tmp_path / "target")
    with files.opened(tmp_path) as directory, pytest.raises(BundleError, match=f"^{MODEL}: cannot be read"):
        files.read(directory, MODEL)


def test_a_pipe_that_took_the_files_place_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MODEL)
    with files.opened(tmp_path) as directory, pytest.raises(BundleError, match=f"^{MODEL}: is not a plain file"):
        files.read(directory, MODEL)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    with files.opened(tmp_path) as directory:
        monkeypatch.setattr(os, "open", denied)
        with pytest.raises(BundleError, match=f"^{MODEL}: cannot be read: Permission denied"):
            files.read(directory, MODEL)


def test_the_directory_stays_the_same_when_its_path_is_re_pointed(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / MODEL).write_bytes(b"one")
    with files.opened(tmp_path / "v1") as directory:
        (tmp_path / "v1").rename(tmp_path / "gone")
        (tmp_path / "v1").mkdir()
        assert files.read(directory, MODEL).data == b"one"


@pytest.fixture
def stamped(tmp_path: Path) -> tuple[Path, tuple[int, ...]]:
    """A file that was read, and its stamp."""
    path = tmp_path / MODEL
    path.write_bytes(b"one")
    with files.opened(tmp_path) as directory:
        return path, files.read(directory, MODEL).stamp


def test_a_pinned_file_is_the_one_that_was_read_whatever_is_at_its_path(
    stamped: tuple[Path, tuple[int, ...]], tmp_path: Path
) -> None:
    path, stamp = stamped
    with files.pinned(path, stamp) as held:
        tmp_path.rename(tmp_path.with_name("aside"))
        tmp_path.mkdir()
        path.write_bytes(b"two")
        assert held.read_bytes() == b"one"
        path.unlink()
        tmp_path.rmdir()
        tmp_path.with_name("aside").rename(tmp_path)


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def _rewrite(path: Path) -> None:
    path.write_bytes(b"two")


def _exchange(path: Path) -> None:
    path.with_name("new").write_bytes(b"one")
    path.with_name("new").replace(path)


@pytest.mark.parametrize("change", [_touch, _rewrite, _exchange, Path.unlink])
def test_a_file_that_is_touched_before_or_while_it_is_pinned_is_refused(
    stamped: tuple[Path, tuple[int, ...]], change: Callable[[Path], None]
) -> None:
    path, stamp = stamped
    with (
        pytest.raises(BundleError, match=f"^{MODEL}: changed between its check and its loading"),
        files.pinned(path, stamp),
    ):
        change(path)
    with pytest.raises(BundleError, match="changed between"), files.pinned(path, stamp):
        pytest.fail("let in")


def test_a_directory_full_of_files_is_not_even_listed(tmp_path: Path) -> None:
    for row in range(65):
        (tmp_path / str(row)).touch()
    with files.opened(tmp_path) as directory, pytest.raises(BundleError, match="more than 64 entries"):
        files.names(directory)
    (tmp_path / "0").unlink()
    with files.opened(tmp_path) as directory:
        assert len(files.names(directory)) == 64

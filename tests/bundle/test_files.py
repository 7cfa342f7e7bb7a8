import os
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


def test_a_stamp_tells_every_kind_of_change(tmp_path: Path) -> None:
    path = tmp_path / MODEL
    path.write_bytes(b"one")
    with files.opened(tmp_path) as directory:
        stamp = files.read(directory, MODEL).stamp
    assert files.unchanged(path, stamp)
    os.utime(path, ns=(0, 0))
    assert not files.unchanged(path, stamp)
    path.unlink()
    assert not files.unchanged(path, stamp)

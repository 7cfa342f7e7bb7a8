import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.ledger.lock import DirectoryLock, make


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    make(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b" / "journal").is_dir()


def test_two_sidecars_never_share_a_directory(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from sidecar.ledger.lock import DirectoryLock\n"
    program += "lock = DirectoryLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=f"in use by another sidecar .process {other.pid}.; give each"):
            DirectoryLock(tmp_path)
        other.kill()
    DirectoryLock(tmp_path).close()


def test_a_lock_of_another_name_is_another_lock(tmp_path: Path) -> None:
    one, other = DirectoryLock(tmp_path), DirectoryLock(tmp_path, "importer.lock")
    one.close()
    one.close()
    other.close()
    DirectoryLock(tmp_path).close()


def test_a_directory_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"ledger\.directory: .* cannot be used"):
            DirectoryLock(directory)

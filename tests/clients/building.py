"""Builds client programs once for the same sources, in the user's cache folder, whichever test process comes first."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

# Far beyond what any build takes on an idle machine.
BUILD_S = 500.0
# Builds of a program that stay: other checkouts may be using theirs.
KEPT = 4


def needs(*tools: str) -> None:
    """Skips where a program is missing, with the names of those that are."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def built(name: str, sources: Iterable[Path], version: str, build: Callable[[Path], None]) -> Path:
    """The folder of a build; made if it does not exist.

    Args:
        name: of the program.
        sources: files that it is made from.
        version: of the tools that make it.
        build: fills an empty folder.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "router-sidecar-tests"
    home.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(version.encode())
    for source in sorted(sources):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    target = home / f"{name}-{digest.hexdigest()[:16]}"
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=home, prefix=f".{name}") as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                build(made)
                made.rename(target)
        os.utime(target)
        for old in sorted(home.glob(f"{name}-*"), key=lambda one: one.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old)
    return target


def version_of(*command: str) -> str:
    """What a program says of its version; empty where it fails."""
    needs(command[0])
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_S)
    return "" if done.returncode else done.stdout.strip()


def sh(command: Sequence[str | Path], cwd: Path, **environment: str) -> str:
    """Runs a step of a build; gives what it printed.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S,
    )
    if done.returncode:
        raise AssertionError(f"{command[0]} failed: {done.stderr[-3000:]}{done.stdout[-1000:]}")
    return done.stdout

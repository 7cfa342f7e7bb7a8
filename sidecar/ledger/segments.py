"""The files of a journal. Each belongs to one writer, which holds a lock on it as long as it may write to it.

That lock (flock) goes with the process however it ends, so whoever gets it knows that nothing more will come. A file gets
its name only when it is locked and has its head, so nobody takes a new one for an abandoned one.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HEAD = b"routerjournal\x00\x01\n"
SUFFIX = ".journal"
CORRUPT = ".corrupt"
FOLDER = "journal"
_NEW = ".new-"
# What is not named after so long never will be.
STALE_S = 60.0


class Segment(NamedTuple):
    """One file of a journal.

    Attributes:
        path: its name is unique among all sidecars.
        size: bytes.
    """

    path: Path
    size: int


def writer_name() -> str:
    """A name for a writer; names sort by time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"


def create(folder: Path, writer: str, stream: str, number: int) -> int:
    """A new file, locked, with its head and its name.

    Returns:
        Its descriptor, to write to.

    Raises:
        OSError: it cannot be made.
    """
    new = folder / f"{_NEW}{writer}-{stream}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.write(descriptor, HEAD) != len(HEAD):
            raise OSError("the disk is full")  # noqa: TRY301 - tidied up below as any other fault
        new.rename(folder / f"{writer}-{number:08d}-{stream}{SUFFIX}")
        sync_folder(folder)
    except BaseException:
        os.close(descriptor)
        new.unlink(missing_ok=True)
        raise
    return descriptor


def sync_folder(folder: Path) -> None:
    """Makes names in a directory durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def segments(folder: Path) -> list[Segment]:
    """All files of all journals, the oldest writer's first."""
    return sorted(Segment(Path(entry.path), size) for entry, size in _files(folder) if entry.name.endswith(SUFFIX))


def taken(folder: Path) -> int:
    """Bytes of everything in the directory of the journals."""
    return sum(size for _, size in _files(folder))


def abandoned(path: Path) -> bool:
    """Whether its writer is gone, or has done with it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def tidy(folder: Path, now: float) -> None:
    """Removes what writers left that died before they named it.

    Args:
        folder: of the journals.
        now: Unix seconds.
    """
    for entry, _ in _files(folder):
        with suppress(OSError):
            if entry.name.startswith(_NEW) and now - entry.stat().st_mtime > STALE_S and abandoned(Path(entry.path)):
                Path(entry.path).unlink()


def _files(folder: Path) -> Iterator[tuple["os.DirEntry[str]", int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # the importer deletes meanwhile
                if entry.is_file(follow_symlinks=False):
                    yield entry, entry.stat().st_size

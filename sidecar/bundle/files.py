"""Reading a bundle's directory without trusting it."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

from sidecar.bundle.manifest import GOLDEN_OF, MANIFEST, REFERENCE, SIGNATURES, TOKENIZER
from sidecar.errors import BundleError

_MIB = 1 << 20
MAX_BYTES: Mapping[str, int] = {
    MANIFEST: _MIB,
    TOKENIZER: 64 * _MIB,
    REFERENCE: 64 * _MIB,
    SIGNATURES: 16384,
    **dict.fromkeys(GOLDEN_OF, 1024 * _MIB),
    **dict.fromkeys(GOLDEN_OF.values(), 4 * _MIB),
}
# Far more than a bundle has, far fewer than would keep us busy.
MAX_ENTRIES = 64
_KINDS = (
    (stat.S_ISLNK, "is a symbolic link; put the file itself there"),
    (stat.S_ISDIR, "is a directory; a bundle has none inside"),
    (stat.S_ISREG, ""),
)


class Content(NamedTuple):
    """One file as it was when it was read.

    Attributes:
        data: its bytes.
        sha256: of these bytes, hexadecimal.
        stamp: device, inode, size, modification and change time; tells whether the file was touched since (see pinned).
    """

    data: bytes
    sha256: str
    stamp: tuple[int, ...]


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    """Holds the bundle's directory open, so that all files are read from the same one even if its path is re-pointed.

    The directory itself may be reached through a symbolic link (`current -> v7`); what lies in it may not be one.

    Yields:
        A file descriptor of the directory.

    Raises:
        BundleError: there is no such directory, or it cannot be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BundleError(f"{directory}: not a bundle directory: {reason}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def names(directory: int) -> list[str]:
    """Lists the directory, and refuses everything in it that is not a plain file.

    Raises:
        BundleError: an entry is a link, a directory, a device, a pipe or a socket, or there are too many.
    """
    with os.scandir(directory) as entries:
        found = sorted(entry.name for entry in islice(entries, MAX_ENTRIES + 1))
    if len(found) > MAX_ENTRIES:
        raise BundleError(
            f"the directory holds more than {MAX_ENTRIES} entries; a bundle has only {', '.join(MAX_BYTES)}"
        )
    for name in found:
        try:
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        except OSError as error:
            raise BundleError(f"{shown(name)}: cannot be read: {error.strerror}") from error
        reason = next((why for test, why in _KINDS if test(mode)), "is a device, a pipe or a socket")
        if reason:
            raise BundleError(f"{shown(name)}: {reason}")
    return found


def read(directory: int, name: str) -> Content:
    """Reads one file whole, after its size was checked against the cap of its name.

    Raises:
        BundleError: it is missing, empty, not a plain file, over its cap, or changed while it was read.
    """
    # O_NONBLOCK: a pipe that took the file's place must not hang us before fstat unmasks it.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError as error:
        raise BundleError(f"{name}: is missing") from error
    except OSError as error:
        raise BundleError(f"{name}: cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{name}: is not a plain file")
        cap = MAX_BYTES[name]
        if status.st_size > cap:
            raise BundleError(f"{name}: has {status.st_size} bytes, over the limit of {cap}")
        if status.st_size == 0:
            raise BundleError(f"{name}: is empty")
        try:
            data = file.read(status.st_size)
        except OSError as error:
            raise BundleError(f"{name}: cannot be read: {error.strerror}") from error
        if len(data) != status.st_size or _stamp(os.fstat(descriptor)) != _stamp(status):
            raise BundleError(f"{name}: changed while it was read")
    return Content(data, hashlib.sha256(data).hexdigest(), _stamp(status))


def write(directory: Path, name: str, data: bytes) -> None:
    """Puts a file into the directory at once and whole, in place of the one that was there, and durably.

    Raises:
        OSError: the directory cannot be written; what was there is untouched.
    """
    with NamedTemporaryFile(dir=directory, prefix=f".{name}-", delete=False) as file:
        try:
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(directory / name)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    with opened(directory) as descriptor:
        os.fsync(descriptor)


@contextmanager
def pinned(path: Path, stamp: tuple[int, ...]) -> Iterator[Path]:
    """Holds on to a file that was read, for a library that opens files by path only.

    Whatever is moved to its path meanwhile, even if the file itself is back there afterwards, the library gets the file
    that was read.

    Args:
        path: where it was.
        stamp: of its Content.

    Yields:
        A path that leads to that file and no other (on systems without /proc: the given one).

    Raises:
        BundleError: it is not there any more, or was touched before the end of the block.
    """
    name = path.name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _touched(name) from error
    try:
        if _stamp(os.fstat(descriptor)) != stamp:
            raise _touched(name)
        held = Path(f"/proc/self/fd/{descriptor}")
        yield held if held.exists() else path
        if _stamp(os.fstat(descriptor)) != stamp:
            raise _touched(name)
    finally:
        os.close(descriptor)


def shown(name: str) -> str:
    """Makes a name from an untrusted directory fit to print: no control characters, bounded."""
    return name if name.isprintable() and len(name) <= 128 else repr(name[:128])  # noqa: PLR2004 (a width)


def _touched(name: str) -> BundleError:
    return BundleError(f"{name}: changed between its check and its loading; load the bundle again")


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    # The change time cannot be set back by whoever rewrites the file, unlike the modification time.
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

"""The registry: a directory of bundles, and a pointer file that names the one to run.

The pointer is replaced as a whole (written beside, flushed to disk, renamed), so a reader sees the old name or the new
one. A directory of the registry is read only when the pointer or an operator names it, and a bundle whose manifest is
not there yet, or whose files do not have the digests of the manifest, is refused: what is being copied is never run.
"""

import os
import re
from pathlib import Path
from tempfile import NamedTemporaryFile

from sidecar.errors import BundleError, ConfigError, InvalidRequest, NotFound

POINTER = "active"
MOST_NAME_BYTES = 255
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Registry:
    """A directory of bundles.

    Args:
        directory: must exist.

    Raises:
        ConfigError: there is no such directory.
    """

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise ConfigError(f"registry: {directory} is no directory; create it and put bundles into it.")
        self.directory = directory.resolve()
        self._pointer = self.directory / POINTER

    def names(self) -> list[str]:
        """Directories that may be bundles."""
        return sorted(
            entry.name for entry in os.scandir(self.directory) if entry.is_dir() and _NAME.fullmatch(entry.name)
        )

    def path(self, name: str) -> Path:
        """Where the bundle of that name lies.

        Raises:
            InvalidRequest: it is no name of a directory in the registry.
            NotFound: there is no such directory.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"directory: {name[:128]!r} is no name of a bundle; give that of a directory in the registry, of "
                "letters, digits, '.', '_' and '-'."
            )
        path = self.directory / name
        if not path.is_dir():
            raise NotFound(f"directory: the registry has no {name!r}; it has {', '.join(self.names()) or 'none'}.")
        return path

    def active(self) -> str:
        """The name in the pointer file; empty if there is none.

        Raises:
            BundleError: it cannot be read, or holds no name.
        """
        try:
            with self._pointer.open("rb") as file:
                content = file.read(MOST_NAME_BYTES + 1)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise BundleError(f"{POINTER}: cannot be read: {error.strerror}") from error
        name = content.decode("ascii", "replace").strip()
        if len(content) > MOST_NAME_BYTES or not _NAME.fullmatch(name):
            raise BundleError(f"{POINTER}: holds no name of a bundle; write the name of a directory, one line")
        return name

    def stamp(self) -> tuple[int, ...] | None:
        """Tells whether the pointer file was touched since; None if there is none."""
        try:
            status = self._pointer.stat()
        except OSError:
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def point(self, name: str) -> None:
        """Names the bundle to run, durably, so that a restart runs it again.

        Raises:
            BundleError: the file cannot be written.
        """
        try:
            with NamedTemporaryFile(dir=self.directory, prefix=".active-", delete=False) as file:
                try:
                    os.fchmod(file.fileno(), 0o644)
                    file.write(f"{name}\n".encode())
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(self._pointer)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise BundleError(f"{POINTER}: cannot be written: {error.strerror}; make the registry writable") from error

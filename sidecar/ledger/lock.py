"""One sidecar to a directory."""

import fcntl
import os
from pathlib import Path

from sidecar.errors import ConfigError
from sidecar.ledger.segments import FOLDER, sync_folder

LOCK = "lock"


class DirectoryLock:
    """The ledger's directory, made if need be, and held for this process until it ends or closes it.

    Args:
        directory: `ledger.directory`.
        name: of the lock; two of one name never hold the same directory.

    Raises:
        ConfigError: it cannot be written, or another sidecar holds it.
    """

    def __init__(self, directory: Path, name: str = LOCK) -> None:
        make(directory)
        try:
            self._descriptor = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(directory, error) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise ConfigError(
                f"ledger.directory: {directory} is in use by another sidecar (process {holder or 'unknown'}); give each "
                "sidecar a directory of its own, and PostgreSQL (ledger.url) to have their records in one place."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Lets go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def make(directory: Path) -> Path:
    """Makes the ledger's directory, for its owner's eyes only, and in it that of the journals.

    Returns:
        The directory of the journals.

    Raises:
        ConfigError: it cannot be made or written.
    """
    folder = directory / FOLDER
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        # What is acknowledged must not hang on a name that a power failure takes away.
        for parent in (directory, directory.parent):
            sync_folder(parent)
    except OSError as error:
        raise _unusable(directory, error) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"ledger.directory: {folder} cannot be written; give it to the user of the sidecar.")
    return folder


def _unusable(directory: Path, error: OSError) -> ConfigError:
    return ConfigError(f"ledger.directory: {directory} cannot be used: {error.strerror}; name one that can be written.")

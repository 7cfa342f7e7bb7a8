"""Memory that the processes of one sidecar share, found by a path."""

import os
import sys
from pathlib import Path

from sidecar.errors import ConfigError


def share(path: Path, size: int) -> int:
    """Makes zeros to be shared, at a path where there is nothing. They live as long as this process.

    On Linux they have no pages on a disk (the path leads to anonymous memory of this process): else writing to them could
    have to wait until the system has written a page back.

    Args:
        path: in a directory that only this sidecar uses.
        size: in bytes; what is never written takes no room.

    Returns:
        A file descriptor, to be kept open as long as others may open the path.

    Raises:
        ConfigError: there is no memory, or something at that path.
    """
    try:
        if sys.platform == "linux":
            descriptor = os.memfd_create(path.name)
            path.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(descriptor, size)
    except OSError as error:
        raise ConfigError(f"no shared memory at {path}: {error.strerror}; give the sidecar a little more.") from None
    return descriptor

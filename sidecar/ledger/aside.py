"""Records that no store takes, kept for a person to look at, so that one of them does not hold up all others."""

import os
from pathlib import Path

from sidecar.ledger.frames import frame

NAME = "refused"
MOST_BYTES = 64 << 20


class Aside:
    """A file of frames.

    Args:
        directory: of the ledger.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME

    def put(self, kind: int, payload: bytes | memoryview) -> None:
        """Adds a record durably; lets it go if the file is full.

        Raises:
            OSError: it cannot be written.
        """
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < MOST_BYTES:
                os.write(descriptor, frame(kind, [bytes(payload)]))
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

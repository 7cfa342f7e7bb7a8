"""Records that no store takes, kept for a person to look at, so that one of them does not hold up all others.

While the store is away, the same records are read again and again; each is kept once.
"""

import hashlib
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
        self._lately: set[bytes] = set()

    def put(self, kind: int, payload: bytes | memoryview) -> bool:
        """Adds a record durably, unless it was added lately; lets it go if the file is full.

        Returns:
            Whether it is another one.

        Raises:
            OSError: it cannot be written.
        """
        digest = hashlib.blake2b(bytes([kind]) + payload, digest_size=16).digest()
        if digest in self._lately:
            return False
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < MOST_BYTES:
                os.write(descriptor, frame(kind, [bytes(payload)]))
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._lately.add(digest)
        return True

    def settle(self) -> None:
        """The store took what stood around the records that were added: none of them comes again."""
        self._lately.clear()

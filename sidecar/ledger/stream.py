"""One writer's stream of frames into files."""

import os
from contextlib import suppress
from pathlib import Path

from sidecar.ledger import segments

# So that what was imported, prompts perhaps, does not lie on in the file of an idle worker.
MOST_AGE_S = 600.0


class Stream:
    """Appends to a file, and begins a new one when it is full or old, or when the disk refused something.

    Args:
        folder: of the journals.
        writer: its name.
        stream: `outcomes` or `decisions`.
        most: bytes after which a new file is begun.
    """

    def __init__(self, folder: Path, writer: str, stream: str, most: int) -> None:
        self._folder, self._writer, self._stream = folder, writer, stream
        self._most = most
        self._number = 0
        self._descriptor = -1
        self._size = 0
        self._begun = 0.0

    def append(self, frames: bytes, now: float, *, durable: bool) -> None:
        """Adds whole frames; all of them, or none.

        Args:
            frames: bytes.
            now: monotonic seconds.
            durable: return only when they are on the disk.

        Raises:
            OSError: they are not in the journal; or, where it was the sync that failed, they may be.
        """
        if self._descriptor < 0:
            self._number += 1
            self._descriptor = segments.create(self._folder, self._writer, self._stream, self._number)
            self._size, self._begun = len(segments.HEAD), now
        try:
            rest = memoryview(frames)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            if durable:
                os.fdatasync(self._descriptor)
        except OSError:
            # Nothing may follow what is torn. And of what a sync failed on, the kernel may have let go: never again here.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            self.end()
            raise
        self._size += len(frames)
        if self._size >= self._most:
            self.end()

    def age(self, now: float) -> None:
        """Ends the file if it is old, so that the importer may remove it."""
        if self._descriptor >= 0 and now - self._begun >= MOST_AGE_S:
            self.end()

    def end(self) -> None:
        """Leaves the file to the importer; what comes next begins a new one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

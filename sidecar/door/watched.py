"""Files that others replace while we run."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Times of files come in ticks of some milliseconds; a file that was written within the last second may be written again
# within the same tick, and is looked into again.
SETTLED_SECONDS = 1.0


class Watched:
    """Files that are read again when they change, all together.

    Asking costs one `stat` a file. Symbolic links are followed, so a mount that swaps a link is noticed.

    Args:
        paths: of the files.
        now: wall clock in seconds, as in the times of files.
    """

    def __init__(self, paths: Sequence[Path], now: Callable[[], float] = time.time) -> None:
        self._paths = paths
        self._now = now
        self._stamps: object = None
        self._settled = False
        self._digest = b""

    def news(self) -> list[bytes] | None:
        """What is in the files, if it is not what was there the last time; else None.

        Raises:
            OSError: a file cannot be read, and this was not so the last time.
        """
        try:
            before = [path.stat() for path in self._paths]
            stamps = [(s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino, s.st_dev) for s in before]
            if stamps == self._stamps and self._settled:
                return None
            contents = [path.read_bytes() for path in self._paths]
        except OSError as error:
            trouble = (error.errno, error.filename)
            known = trouble == self._stamps
            self._stamps, self._settled, self._digest = trouble, False, b""
            if known:
                return None
            raise
        # The stamps are from before the reading: what changes meanwhile is looked into the next time.
        self._stamps = stamps
        self._settled = max(s.st_mtime for s in before) < self._now() - SETTLED_SECONDS
        digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).digest()
        if digest == self._digest:
            return None
        self._digest = digest
        return contents

"""The threads of rare methods, and how many of them calls may hold for as long as they are open."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.errors import TooMany

# Rare methods may block, so they run beside the hot ones.
COLD_THREADS = 6
# Each of these holds a thread; the others are for Info and operations.
MOST_WATCHES = 2


class Slots:
    """For calls of one kind.

    Args:
        most: that may be open.
        kind: what they are called.
    """

    def __init__(self, most: int, kind: str) -> None:
        self._most = most
        self._kind = kind
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Holds one of them.

        Raises:
            TooMany: none is free.
        """
        if not self._free.acquire(blocking=False):
            raise TooMany(f"{self._most} {self._kind} are open; close one first.")
        try:
            yield
        finally:
            self._free.release()

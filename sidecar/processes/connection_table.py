"""How many connections each worker has, in memory that all processes of the sidecar share.

One row for each worker process, and two for each worker number, since a worker and its successor overlap when workers are
replaced. A row is three 64-bit integers:

    open    0 while the process takes no connections from others, else 1 + its open connections; written by its owner,
            and set to 0 by a process that finds the owner dead
    handed  connections that were ever handed to this row; written under the lock
    taken   the value of `handed` that came with the last connection which the owner has received; written by its owner

so its load is `open - 1 + handed - taken`: a connection counts from the moment at which it is handed over, whether or not
its new worker has looked yet. A single store of 8 aligned bytes is never seen in halves. The lock is the kernel's (flock):
it is gone with the process that held it.
"""

import fcntl
import mmap
import os
from pathlib import Path

FILE = "connections"
OPEN, HANDED, TAKEN, WORDS = 0, 1, 2, 3
# A worker that has not yet looked at so many gets no more: it may hang. The kernel's own bound, the sysctl
# net.unix.max_dgram_qlen, is 10 on many systems and 512 on others.
MOST_COMING = 8
# A holder of the lock needs it for some 20 microseconds, and so long another one tries again.
TRIES = 30


class ConnectionTable:
    """The rows of all worker processes; made by the first process that opens it.

    Args:
        runtime: directory of the sidecar's processes.
        workers: how many the sidecar has, the same for each process.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, runtime: Path, workers: int) -> None:
        self.rows = 2 * workers
        size = self.rows * WORDS * 8
        self._descriptor = os.open(runtime / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, size)
        self._memory = mmap.mmap(self._descriptor, size)
        self._words = memoryview(self._memory).cast("q")

    def lock(self) -> None:
        """Waits for the lock; for the start of a process, where a wait hurts no client."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def try_lock(self) -> bool:
        """Takes the lock, unless others keep holding it."""
        for _ in range(TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            return True
        return False

    def unlock(self) -> None:
        """Lets go of the lock."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def begin(self, row: int) -> None:
        """A new process owns this row, and takes nothing yet. Under the lock."""
        self.retire(row)
        self._words[row * WORDS + TAKEN] = self._words[row * WORDS + HANDED]

    def retire(self, row: int) -> None:
        """From now on this row's process takes no connections from others, or is dead."""
        self._words[row * WORDS + OPEN] = 0

    def publish(self, row: int, connections: int) -> None:
        """This row's process has so many open connections and takes those of others."""
        self._words[row * WORDS + OPEN] = 1 + connections

    def coming(self, row: int) -> int:
        """Connections that were handed to this row and not received so far."""
        # Never below 0, though `taken` is ahead of `handed` between a message and the note of it.
        return max(0, self._words[row * WORDS + HANDED] - self._words[row * WORDS + TAKEN])

    def load(self, row: int) -> int | None:
        """Connections that it has or is about to have; None if it takes none from others."""
        connections = self._words[row * WORDS + OPEN]
        return connections - 1 + self.coming(row) if connections else None

    def emptiest(self, below: int | None, but: int = -1) -> int | None:
        """The row with the lowest load.

        Args:
            below: only if its load is less than that; None is any load.
            but: a row that is not meant.

        Returns:
            None where there is no such row.
        """
        found, lowest = None, below
        for row in range(self.rows):
            load = self.load(row)
            if load is None or row == but or self.coming(row) >= MOST_COMING:
                continue
            if lowest is None or load < lowest:
                found, lowest = row, load
        return found

    def next_number(self, row: int) -> int:
        """What the next connection for this row has to bring along. Under the lock."""
        return self._words[row * WORDS + HANDED] + 1

    def note_handed(self, row: int, number: int) -> None:
        """The connection with this number is on its way to this row. Under the lock."""
        self._words[row * WORDS + HANDED] = number

    def note_taken(self, row: int, number: int) -> None:
        """The owner of this row has received the connection with this number, and has one more open."""
        # In this order, so that the load is never too low; one too high does no harm.
        self._words[row * WORDS + OPEN] += 1
        self._words[row * WORDS + TAKEN] = number

    def close(self) -> None:
        """Gives back the memory; the file stays for the others."""
        self._words.release()
        self._memory.close()
        os.close(self._descriptor)

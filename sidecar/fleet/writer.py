"""A process's own section of the fleet table."""

import fcntl
import os
import secrets
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import ConfigError
from sidecar.fleet.columns import (
    COLUMNS,
    IN_FLIGHT,
    PROBES,
    PROBES_OK,
    TOKENS_IN_FLIGHT,
)
from sidecar.fleet.layout import CONTROL_WORDS, EPOCH, IDENTITY, NAMES, PID, SEQUENCE
from sidecar.fleet.table import FleetTable, key_of

EPOCH_BITS = 32


class Writer:
    """Claims a section that no living process holds; what its last owner knew of the candidates goes on counting.

    Not safe for use from several threads, but for `beat`. The rows are kept in this process and copied out by
    `publish`, so that the section is odd for about a microsecond only.

    Args:
        table: the fleet's.
        preferred: section to try first; that of other sidecars is nobody else's, and given to who asks for it only.
        clock: monotonic seconds.

    Attributes:
        number: of the section.
        epoch: 32 random bits that tell this owner from those before.
        rows: [names, COLUMNS] this process's rows.
        cells: the same numbers as a flat memoryview, for single ones.

    Raises:
        ConfigError: all sections are taken.
    """

    def __init__(self, table: FleetTable, preferred: int, clock: Callable[[], float]) -> None:
        self.table = table
        self._clock = clock
        self.number, self._lock = _claim(table, preferred)
        self.epoch = secrets.randbits(EPOCH_BITS)
        self.rows: NDArray[np.float64] = np.zeros((table.names, COLUMNS))
        self.cells = memoryview(self.rows).cast("B").cast("d")  # type: ignore[arg-type]
        self._rows_out = table.rows[self.number]
        self._words = table.control_words
        self._base = self.number * CONTROL_WORDS
        self._index: dict[bytes, int] = {}
        self._adopt()

    def names(self) -> list[str]:
        """The names of the rows, in order."""
        return [key.decode() for key in self._index]

    def row(self, name: str) -> int:
        """The row of a name; a new name gets the next free one.

        Raises:
            ConfigError: the name is unusable, or there are too many names.
        """
        key = key_of(name)
        row = self._index.get(key)
        if row is not None:
            return row
        row = len(self._index)
        if row == self.table.names:
            raise ConfigError(
                f"fleet.max_names: this worker has met {row} candidates and budgets, and {name[:64]!r} is one more; "
                "raise it, or restart."
            )
        self._begin()
        self.table.labels[self.number, row] = key
        self._words[self._base + NAMES] = row + 1
        self._words[self._base + IDENTITY] = _identity()
        self._end()
        self._index[key] = row
        return row

    def publish(self) -> None:
        """Lets the others see the rows as they are now."""
        amount = len(self._index)
        self._begin()
        self._rows_out[:amount] = self.rows[:amount]
        self._end()

    def beat(self) -> None:
        """A sign of life; from any thread, a few times within fleet.dead_after_seconds."""
        self.table.beat(self.number, self._clock())

    def close(self) -> None:
        """Leaves the section to a successor. What was known of the candidates goes on counting, calls in flight do not."""
        self.rows[:, (IN_FLIGHT, TOKENS_IN_FLIGHT)] = 0.0
        self.publish()
        self.table.beat(self.number, 0.0)
        os.close(self._lock)

    def _adopt(self) -> None:
        words, base = self._words, self._base
        whole = words[base + SEQUENCE] % 2 == 0
        words[base + SEQUENCE] |= 1
        keys = self.table.label(self.number) if whole else []
        amount = len(keys)
        self.rows[:amount] = self._rows_out[:amount]
        # Calls in flight are the last owner's; its outcomes will not find their way here.
        self.rows[:, (IN_FLIGHT, TOKENS_IN_FLIGHT)] = 0.0
        self.rows[:, PROBES] = self.rows[:, PROBES_OK]
        self._index = {key: row for row, key in enumerate(keys)}
        self._rows_out[:] = 0.0
        self._rows_out[:amount] = self.rows[:amount]
        words[base + NAMES] = amount
        words[base + EPOCH] = self.epoch
        words[base + PID] = os.getpid()
        words[base + IDENTITY] = _identity()
        self.beat()
        self._end()

    def _begin(self) -> None:
        self._words[self._base + SEQUENCE] += 1

    def _end(self) -> None:
        self._words[self._base + SEQUENCE] += 1


def _identity() -> int:
    return secrets.randbits(62) + 1


def _claim(table: FleetTable, preferred: int) -> tuple[int, int]:
    if preferred == table.peers:
        numbers = [preferred]
    else:
        numbers = [(preferred + step) % table.writers for step in range(table.writers)]
    for number in numbers:
        if number == table.peers != preferred:
            continue
        descriptor = os.open(table.lock_path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # The system lets go of it when the process ends, however it ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
        else:
            return number, descriptor
    raise ConfigError(f"fleet: all {table.writers} sections of the table are taken; restart the whole sidecar.")

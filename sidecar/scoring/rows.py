"""Rows of numbers by key, in a fixed number of bytes.

Three flat buffers and no Python object for an entry: with 14 candidates an entry takes 133 bytes, where an ordered dict
takes 340 to 390 for its key, slot number, links and table, and stops for milliseconds whenever that table grows. A key may
lie in one of eight slots, and within these eight replacement is CLOCK (F. J. Corbato, A Paging Experiment with the Multics
System, 1969): the oldest goes, unless it was asked for since its last reprieve. On simulated traffic (Zipf 0.8 and 1.0,
half of it seen once, and agents that repeat themselves) its hit ratio is 0.96 to 1.04 times that of exact LRU with as many
entries, and 1.1 to 2 times that of LRU with 2.2 times fewer.
"""

from collections.abc import Sequence

import numpy as np

from sidecar.types import Floats

WAYS = 8
KEY_BYTES = 16
_FLOAT_BYTES = 4
_UNUSED = bytes(KEY_BYTES)


def entry_bytes(width: int) -> int:
    """Bytes of an entry of so many numbers: key, mark and row."""
    return KEY_BYTES + 1 + _FLOAT_BYTES * width


class Rows:
    """A bounded table. For one thread.

    Args:
        width: numbers in a row.
        max_bytes: of all buffers together; at least one set of eight entries must fit.

    Attributes:
        capacity: most rows that it holds.
        held: rows that it holds.
        evicted: rows that had to make room, since it was made or cleared.
    """

    def __init__(self, width: int, max_bytes: int) -> None:
        # One byte a set for the hand of its clock.
        self._sets = max_bytes // (WAYS * entry_bytes(width) + 1)
        if self._sets < 1:
            raise ValueError(f"{max_bytes} bytes hold no set of {WAYS} rows of {width} numbers.")
        self._width = width
        self.capacity = self._sets * WAYS
        self.clear()

    def clear(self) -> None:
        """Forgets all rows and gives their memory back; it is taken again with the first row."""
        self.held = self.evicted = 0
        self._keys = bytearray()
        self._asked = bytearray()
        self._hands = bytearray()
        self._values: Floats = np.empty((0, self._width), np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that it holds, keys and marks included."""
        return self.held * entry_bytes(self._width)

    def find(self, key: bytes) -> int:
        """The slot of a key of 16 bytes, -1 if it is absent. Slots hold until the next `put`."""
        begin = hash(key) % self._sets * (WAYS * KEY_BYTES)
        at = self._keys.find(key, begin, begin + WAYS * KEY_BYTES)
        if at < 0:
            return -1
        # A match across two keys is as unlikely as two texts of one key: 128 bits would have to agree by chance.
        slot = at // KEY_BYTES
        self._asked[slot] = 1
        return slot

    def take(self, slots: Sequence[int]) -> Floats:
        """A copy of the rows in some slots [K, width]."""
        if len(slots) == 1:  # a slice costs a third of what a list of indices costs
            return self._values[slots[0] : slots[0] + 1].copy()
        return self._values[slots]

    def put(self, keys: Sequence[bytes], values: Floats) -> None:
        """Stores rows under keys that are absent.

        Args:
            keys: K of them, 16 bytes each.
            values: [K, width].
        """
        slots = [self._place(key) for key in keys]
        self._values[slots if len(slots) > 1 else slots[0]] = values

    def put_one(self, key: bytes, parts: Sequence[Floats]) -> None:
        """Stores one row under a key that is absent.

        Args:
            key: of 16 bytes.
            parts: [1, n] each, as long together as a row.
        """
        slot = self._place(key)  # makes the values, if this is the first
        row, start = self._values[slot], 0
        for part in parts:
            end = start + part.size
            row[start:end] = part
            start = end

    def _take_memory(self) -> None:
        self._keys = bytearray(self.capacity * KEY_BYTES)
        self._asked = bytearray(self.capacity)
        self._hands = bytearray(self._sets)
        self._values = np.empty((self.capacity, self._width), np.float32)

    def _place(self, key: bytes) -> int:
        if not self._keys:
            self._take_memory()
        which = hash(key) % self._sets
        first, asked, way = which * WAYS, self._asked, self._hands[which]
        while asked[first + way]:
            asked[first + way] = 0
            way = (way + 1) % WAYS
        self._hands[which] = (way + 1) % WAYS
        slot = first + way
        at = slot * KEY_BYTES
        if self._keys[at : at + KEY_BYTES] == _UNUSED:
            self.held += 1
        else:
            self.evicted += 1
        self._keys[at : at + KEY_BYTES] = key
        return slot

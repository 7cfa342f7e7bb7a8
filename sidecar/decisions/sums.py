"""Sums by key, of any number of rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

OTHERS = "(others)"


class Sums:
    """Adds up rows of numbers by key.

    Args:
        width: numbers of a row; the first is a count, by which `most` sorts.
        most: different keys; what is more is put together under OTHERS. None: any number.
    """

    def __init__(self, width: int, most: int | None) -> None:
        self._most = most
        self._index: dict[tuple[str, ...], int] = {}
        self._sums: NDArray[np.float64] = np.zeros((16, width))

    def add(self, keys: Sequence[tuple[str, ...]], numbers: Matrix) -> None:
        """Adds rows.

        Args:
            keys: [N].
            numbers: [N, width].
        """
        places = [self._place(key) for key in keys]
        if len(self._index) > len(self._sums):
            room = np.zeros((2 * len(self._index), self._sums.shape[1]))
            room[: len(self._sums)] = self._sums
            self._sums = room
        np.add.at(self._sums, places, numbers)

    def most(self) -> list[tuple[tuple[str, ...], list[float]]]:
        """All keys with their sums, the most frequent first."""
        found = [(key, self._sums[place].tolist()) for key, place in self._index.items()]
        return sorted(found, key=lambda entry: -entry[1][0])

    def _place(self, key: tuple[str, ...]) -> int:
        place = self._index.get(key)
        if place is None:
            if self._most is not None and len(self._index) >= self._most:
                key = (OTHERS,)
            place = self._index.setdefault(key, len(self._index))
        return place

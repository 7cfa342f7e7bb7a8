"""Counters that are read from where they may begin anew."""

from collections.abc import Hashable


class Rising:
    """Keeps counters from going backwards: what was counted before one began anew is added to it.

    One that is lower at a single look was misread, as may happen while its writer is replaced; only at the second look it is
    taken to have begun anew.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, float] = {}
        self._lost: dict[Hashable, float] = {}
        self._doubted: set[Hashable] = set()

    def __call__(self, key: Hashable, value: float) -> float:
        """The counter, all in all.

        Args:
            key: which.
            value: as read now.
        """
        last = self._last.get(key, 0.0)
        if value < last:
            if key not in self._doubted:
                self._doubted.add(key)
                return last + self._lost.get(key, 0.0)
            self._lost[key] = self._lost.get(key, 0.0) + last
        self._doubted.discard(key)
        self._last[key] = value
        return value + self._lost.get(key, 0.0)

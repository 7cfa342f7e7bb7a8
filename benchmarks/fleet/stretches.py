"""Stretches of time, as lists of (start, end) in ascending order that do not overlap."""

from collections.abc import Iterable

Stretches = list[tuple[float, float]]


def either(*several: Stretches) -> Stretches:
    """The time that lies in any of them."""
    found: Stretches = []
    for start, end in sorted(stretch for stretches in several for stretch in stretches):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def both(one: Stretches, other: Stretches) -> Stretches:
    """The time that lies in both."""
    found: Stretches = []
    first = second = 0
    while first < len(one) and second < len(other):
        start, end = max(one[first][0], other[second][0]), min(one[first][1], other[second][1])
        if start < end:
            found.append((start, end))
        if one[first][1] <= other[second][1]:
            first += 1
        else:
            second += 1
    return found


def total(stretches: Iterable[tuple[float, float]]) -> float:
    """How long they are together."""
    return sum(end - start for start, end in stretches)

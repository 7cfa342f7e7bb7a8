from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet.stretches import Stretches, both, either, total


@st.composite
def stretches(draw: st.DrawFn) -> Stretches:
    """On whole numbers, so that a moment in the middle of each unit tells everything."""
    edges = sorted(draw(st.sets(st.integers(0, 20), max_size=10)))
    return [(float(start), float(end)) for start, end in zip(edges[::2], edges[1::2], strict=False)]


def covered(some: Stretches) -> set[int]:
    return {unit for unit in range(20) if any(start <= unit + 0.5 < end for start, end in some)}


@given(stretches(), stretches(), stretches())
def test_either_and_both_are_union_and_intersection(one: Stretches, other: Stretches, third: Stretches) -> None:
    assert covered(either(one, other, third)) == covered(one) | covered(other) | covered(third)
    assert covered(both(one, other)) == covered(one) & covered(other)
    assert total(both(one, other)) == len(covered(one) & covered(other))
    for found in (either(one, other, third), both(one, other)):
        assert found == sorted(found)
        assert all(end <= start for (_, end), (start, _) in pairwise(found))
        assert all(start < end for start, end in found)


def test_what_touches_is_one_stretch() -> None:
    assert either([(0.0, 1.0), (3.0, 4.0)], [(1.0, 2.0)]) == [(0.0, 2.0), (3.0, 4.0)]

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidecar.scoring import padding

ROWS = st.lists(st.lists(st.integers(0, 99), max_size=30), min_size=1, max_size=8)
LENGTHS = st.lists(st.integers(0, 512), min_size=1, max_size=40)


def mask_of(lengths: list[int]) -> padding.Ids:
    return (np.arange(max(*lengths, 1)) < np.array(lengths)[:, None]).astype(np.int64)


@given(ROWS)
def test_rows_lie_at_the_left_and_the_rest_is_padding(rows: list[list[int]]) -> None:
    ids, mask = padding.fill(rows, 7)
    assert ids.shape == mask.shape == (len(rows), max(1, *map(len, rows)))
    assert ids.dtype == mask.dtype == np.int64
    for row, got, kept in zip(rows, ids, mask, strict=True):
        assert got[: len(row)].tolist() == row
        assert set(got[len(row) :].tolist()) <= {7}
        assert kept.tolist() == [1] * len(row) + [0] * (len(kept) - len(row))


@given(LENGTHS)
def test_a_split_keeps_every_row_once_and_pays(lengths: list[int]) -> None:
    mask = mask_of([*lengths, 0])
    groups = padding.split(mask)
    if groups is None:
        return
    short, long = groups
    counts = mask.sum(axis=1)
    assert sorted([*short, *long]) == list(range(len(counts)))
    assert counts[short].max() <= counts[long].min()
    apart = len(short) * counts[short].max() + len(long) * counts[long].max()
    assert mask.size - apart >= padding.MIN_SAVED


@given(LENGTHS)
def test_no_split_means_that_no_cut_would_pay(lengths: list[int]) -> None:
    mask = mask_of([*lengths, 0])
    if padding.split(mask) is not None:
        return
    counts = np.sort(mask.sum(axis=1))
    for cut in range(1, len(counts)):
        apart = cut * counts[cut - 1] + (len(counts) - cut) * counts[-1]
        assert mask.size - apart < padding.MIN_SAVED


def test_even_batches_are_left_alone() -> None:
    assert padding.split(mask_of([50] * 64)) is None


def test_one_long_window_among_short_ones_is_run_apart() -> None:
    groups = padding.split(mask_of([40] * 20 + [512] + [40] * 11))
    assert groups is not None
    assert groups[1].tolist() == [20]

from hypothesis import given
from hypothesis import strategies as st

from sidecar.scoring.buckets import MOST_SHAPES, Buckets, Run, cut

LENGTHS = st.lists(st.integers(1, 512), min_size=1, max_size=80)


@given(lengths=LENGTHS, run=st.integers(0, 2000), most=st.integers(1, 40))
def test_every_row_is_in_one_run_that_holds_it_and_padding_is_bounded(lengths: list[int], run: int, most: int) -> None:
    runs = list(cut(lengths, run, most))
    assert sorted(row for one in runs for row in one.rows) == list(range(len(lengths)))
    for one in runs:
        assert len(one.rows) <= most
        assert one.tokens == max(lengths[row] for row in runs_of(runs, one.tokens))
        assert sum(one.tokens - lengths[row] for row in one.rows) <= run


def runs_of(runs: list[Run], tokens: int) -> list[int]:
    """The rows of all runs of this width: a run of which there are too many rows is cut into several."""
    return [row for one in runs if one.tokens == tokens for row in one.rows]


def test_rows_of_like_length_share_a_run_where_that_costs_less_than_another() -> None:
    assert [(list(one.rows), one.tokens) for one in cut([10, 12, 500], 8, 32)] == [([0, 1], 12), ([2], 500)]
    assert [(list(one.rows), one.tokens) for one in cut([10, 12, 500], 1024, 32)] == [([0, 1, 2], 500)]


@given(rows=st.integers(1, 1024), tokens=st.integers(1, 8192))
def test_buckets_are_few_and_hold_the_largest_batch(rows: int, tokens: int) -> None:
    buckets = Buckets.up_to(rows, tokens)
    shapes = list(buckets.shapes())
    assert len(shapes) == len(set(shapes)) <= MOST_SHAPES
    assert shapes[0] == (rows, tokens)
    assert buckets.batches[0] == 1


@given(lengths=LENGTHS, most=st.integers(1, 64))
def test_every_run_fits_into_a_bucket_that_is_not_twice_too_large(lengths: list[int], most: int) -> None:
    buckets = Buckets.up_to(most, 512)
    shapes = set(buckets.shapes())
    seen: list[int] = []
    for run in buckets.cut(lengths):
        batch, tokens = shape = buckets.holding(len(run.rows), run.tokens)
        assert shape in shapes
        assert len(run.rows) <= batch < 2 * max(1, len(run.rows))
        assert max(lengths[row] for row in run.rows) <= tokens
        seen += run.rows
    assert sorted(seen) == list(range(len(lengths)))

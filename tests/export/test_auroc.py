import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.auroc import auroc

scores = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@given(scores, scores)
def test_it_is_the_share_of_pairs_in_the_right_order_ties_half(low: list[int], high: list[int]) -> None:
    pairs = [(a < b) + 0.5 * (a == b) for a in low for b in high]
    assert auroc(np.array(low, np.float32), np.array(high, np.float32)) == pytest.approx(np.mean(pairs))


def test_scores_that_all_tie_tell_nothing_apart() -> None:
    assert auroc(np.zeros(7, np.float32), np.zeros(3, np.float32)) == 0.5

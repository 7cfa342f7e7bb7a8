"""Token vectors in a file: what goes in comes out, row by row, in half precision."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from export.encoder.base import read_base
from export.encoder.pooling import pooled
from export.encoder.states import States, read_states
from export.encoder.vectors import Vectors
from export.errors import DataError

pytestmark = pytest.mark.encoder


@settings(max_examples=25)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_rows_come_back_padded_with_nothing(lengths: list[int], chance: object) -> None:
    counts = np.array(lengths, np.int64)
    full = torch.randn(len(lengths), 9, 4, generator=torch.Generator().manual_seed(0)).half().float()
    with TemporaryDirectory() as scratch:
        states = States(Path(scratch) / "states", counts, 4)
        order = np.arange(len(lengths))
        chance.shuffle(order)  # type: ignore[attr-defined]  # random.Random
        for batch in (order[:2], order[2:]):
            states.put(batch, full[batch])
        asked = order[::-1].copy()
        got, mask = states.take(asked)
        assert mask.shape == got.shape[:2] == (len(lengths), counts.max())
        for at, row in enumerate(asked):
            assert mask[at].tolist() == [1] * counts[row] + [0] * (counts.max() - counts[row])
            torch.testing.assert_close(got[at, : counts[row]], full[row, : counts[row]])
            assert not got[at, counts[row] :].any()


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    states = States(tmp_path / "states", np.array([1]), 2)
    with pytest.raises(DataError, match=r"--tune-layers: .* exceed half precision; leave --tune-layers out"):
        states.put(np.array([0]), torch.tensor([[[1.0, 1e6]]]))


def test_one_pass_gives_pooled_vectors_and_states(base_directory: Path, tmp_path: Path) -> None:
    vectors = Vectors(read_base(str(base_directory)))
    rows = vectors.rows([f"bake the garlic {'and soup ' * (at % 5)}" for at in range(40)], 48)
    calls: list[int] = []
    values, states = read_states(vectors.pooling, rows, 1, tmp_path / "states", lambda: calls.append(1))
    np.testing.assert_allclose(values, pooled(vectors.pooling, rows), atol=1e-6)
    assert len(calls) == vectors.batches(40)
    ids, mask = rows.take(np.array([4]))
    with torch.inference_mode():
        expected = vectors.pooling.states(ids, mask)[1]
    torch.testing.assert_close(states.take(np.array([4]))[0], expected, atol=5e-3, rtol=5e-3)

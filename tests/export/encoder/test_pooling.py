"""Pooled vectors: means over the tokens of a prompt, whatever stands beside it."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from export.encoder.base import read_base
from export.encoder.pooling import Pooling, pooled
from export.encoder.vectors import Vectors
from export.errors import DataError

pytestmark = pytest.mark.encoder


@pytest.fixture(scope="module")
def vectors(base_directory: Path) -> Vectors:
    return Vectors(read_base(str(base_directory)))


def test_every_depth_is_the_mean_of_its_states(vectors: Vectors) -> None:
    ids, mask = vectors.rows(["bake the garlic"], 48).take(np.array([0]))
    with torch.inference_mode():
        states = vectors.base.model(ids, mask, output_hidden_states=True).hidden_states
        got = vectors.pooling(ids, mask)
    expected = torch.cat([state[0].mean(dim=0) for state in states])
    assert vectors.pooling.depths == [0, 1, 2]
    torch.testing.assert_close(got[0], expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=20)
@given(st.lists(st.text("abc garlic", min_size=1, max_size=60).filter(str.strip), min_size=1, max_size=6))
def test_neighbours_in_a_batch_change_nothing(vectors: Vectors, texts: list[str]) -> None:
    together = pooled(vectors.pooling, vectors.rows(texts, 48))
    alone = [pooled(vectors.pooling, vectors.rows([text], 48))[0] for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_row_without_tokens_gives_zeros(vectors: Vectors) -> None:
    with torch.inference_mode():
        got = vectors.pooling(torch.zeros((2, 5), dtype=torch.long), torch.tensor([[0] * 5, [1, 1, 0, 0, 0]]))
    assert not got[0].any()
    assert got[1].isfinite().all()


def test_a_prompt_is_read_once_and_progress_is_called_as_announced(vectors: Vectors) -> None:
    texts = [f"number {at} of the recipe" for at in range(70)]
    calls: list[int] = []
    first = vectors.of(texts, 48, lambda: calls.append(1))
    vectors.pooling.forward = pytest.fail
    try:
        again = vectors.of(texts[::-1], 48, lambda: calls.append(1))
    finally:
        del vectors.pooling.forward
    np.testing.assert_array_equal(again, first[::-1])
    assert len(calls) == 2 * Vectors.batches(len(texts)) == 6


def test_more_tokens_than_the_encoder_reads_are_refused(vectors: Vectors) -> None:
    with pytest.raises(DataError, match=r"--max-tokens: .* reads at most 64 tokens, not 65"):
        vectors.of(["bake"], 65)


def test_deep_encoders_are_seen_at_seven_depths(vectors: Vectors) -> None:
    class Deep:
        model = torch.nn.Identity()
        layers, width = 24, 10

    pooling = Pooling(Deep())  # type: ignore[arg-type]
    assert pooling.depths == [0, 4, 8, 12, 16, 20, 24]
    assert pooling.depths[pooling.nearest(2 / 3)] == 16

"""The layers that are tuned: copies that do what the encoder's own do, and go back into a copy of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from transformers import DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel

from export.encoder.base import Base, read_base
from export.encoder.pooling import Pooling, pooled
from export.encoder.states import States, read_states
from export.encoder.tokens import TokenRows
from export.encoder.upper import Upper
from export.encoder.vectors import Vectors
from export.errors import DataError
from sidecar.types import Floats

pytestmark = pytest.mark.encoder
TEXTS = [f"number {at} of the recipe{' garlic' * (at % 7)}" for at in range(20)]


@pytest.fixture
def vectors(base_directory: Path) -> Vectors:
    return Vectors(read_base(str(base_directory)))


@pytest.fixture
def rows(vectors: Vectors) -> TokenRows:
    return vectors.rows(TEXTS, 48)


def _read(pooling: Pooling, rows: TokenRows, count: int, home: Path) -> tuple[Upper, Floats, States]:
    upper = Upper(pooling, count)
    return upper, *read_states(pooling, rows, pooling.layers - count, home / "states")


@pytest.mark.parametrize("count", [1, 2])
def test_untouched_layers_do_what_the_encoder_does(
    vectors: Vectors, rows: TokenRows, tmp_path: Path, count: int
) -> None:
    upper, values, states = _read(vectors.pooling, rows, count, tmp_path)
    assert upper.lower == (3 - count) * 32
    asked = np.array([7, 3, 12, 3])
    np.testing.assert_allclose(upper.of(values, states, asked, 3), values[asked], atol=0.02)
    upper.check(values, states)


def test_changed_layers_go_into_a_copy(vectors: Vectors, rows: TokenRows, tmp_path: Path) -> None:
    upper, values, states = _read(vectors.pooling, rows, 1, tmp_path)
    with torch.no_grad():
        for parameter in upper.layers.parameters():
            parameter.add_(0.05)
    changed = upper.of(values, states, np.arange(20), 8)
    assert np.abs(changed - values).max() > 0.1
    np.testing.assert_array_equal(changed[:, : upper.lower], values[:, : upper.lower])
    base = upper.inside(vectors.base)
    np.testing.assert_allclose(pooled(Pooling(base), rows), changed, atol=0.02)
    np.testing.assert_allclose(pooled(vectors.pooling, rows), values, atol=1e-6)
    with pytest.raises(DataError, match="do more than BERT's"):
        upper.check(values, states)


def test_dropout_is_the_one_asked_for(vectors: Vectors) -> None:
    kinds = {each.p for each in Upper(vectors.pooling, 2, 0.25).modules() if isinstance(each, torch.nn.Dropout)}
    assert kinds == {0.25}


def test_more_layers_than_there_are(vectors: Vectors) -> None:
    with pytest.raises(DataError, match=r"--tune-layers: the base has 2 layers, not 3"):
        Upper(vectors.pooling, 3)


def test_an_encoder_of_another_build_is_refused(vectors: Vectors) -> None:
    model = DistilBertModel(DistilBertConfig(vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=64))
    with pytest.raises(DataError, match="not built like BERT"):
        Upper(Pooling(_with(vectors.base, model)), 1)


def test_layers_that_need_more_than_states_and_mask_are_refused(vectors: Vectors, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = MPNetConfig(vocab_size=vectors.base.config.vocab_size, initializer_range=1.0, **sizes)
    config._attn_implementation = "eager"
    # Its layers take positions from the whole encoder.
    pooling = Pooling(_with(vectors.base, MPNetModel(config).eval()))
    upper, values, states = _read(pooling, vectors.rows(TEXTS, 48), 1, tmp_path)
    with pytest.raises(DataError, match="do more than BERT's"):
        upper.check(values, states)


def _with(base: Base, model: Any) -> Base:
    return Base("other", model, base.tokenizer, base.pad_id, base.most_tokens)

"""Vectors for our own pieces, from another tokenizer's."""

import numpy as np
import pytest

from export.wordvectors import WordVectors, read_wordvectors


@pytest.fixture(scope="module")
def vectors() -> WordVectors:
    return read_wordvectors()


def _cosine(vectors: WordVectors, one: str, other: str) -> float:
    a, b = vectors.of([one, other]).astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_every_piece_gets_a_vector(vectors: WordVectors) -> None:
    rows = vectors.of(["water", "antidisestablishment", "ing", "\u00e9", "=", "7", "?!"])
    assert rows.shape == (7, vectors.dimensions)
    assert np.isfinite(rows).all()
    assert (np.abs(rows).max(axis=1) > 0).all()


def test_related_words_are_near(vectors: WordVectors) -> None:
    assert _cosine(vectors, "physics", "chemistry") > _cosine(vectors, "physics", "kitchen")


def test_words_are_lower_case_and_common_ones_come_first(vectors: WordVectors) -> None:
    assert all(word.isalpha() and word == word.lower() for word in vectors.words)
    assert vectors.words.index("the") < 50
    assert len(vectors.words) > 5000

"""Features are sums over pieces: what is common weighs little, length does not spread them."""

import numpy as np
import pytest
import scipy.sparse as sp

from export.features import Features, fit_features

PIECES, PROMPTS = 30, 400


@pytest.fixture(scope="module")
def counts() -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    rates = np.concatenate([[0.0, 0.0, 5.0], np.full(PIECES - 4, 0.2), [0.0]])
    return sp.csr_matrix(rng.poisson(rates, (PROMPTS, PIECES)).astype(np.float32))


@pytest.fixture(scope="module")
def features(counts: sp.csr_matrix) -> Features:
    vectors = np.random.default_rng(1).normal(size=(PIECES, 12)).astype(np.float32)
    vectors[:2] = 0.0
    return fit_features(counts, vectors, 6)


def test_common_pieces_weigh_least_and_padding_nothing(features: Features) -> None:
    assert features.weights[0] == 0.0
    assert not features.columns[0].any()
    assert features.weights[2] == features.weights[2:].min()
    assert features.weights[-1] == pytest.approx(1.0)


def test_directions_then_rarity(features: Features) -> None:
    assert features.meaning == 6
    assert features.columns.shape == (PIECES, 8)


def test_never_more_directions_than_the_data_spans() -> None:
    counts = sp.csr_matrix(np.eye(6, dtype=np.float32))
    vectors = np.zeros((6, 12), np.float32)
    vectors[:, :2] = np.random.default_rng(0).normal(size=(6, 2))
    assert fit_features(counts, vectors, 8).meaning <= 2


def test_unseen_pieces_are_rarer_than_seen_ones(features: Features) -> None:
    new = features.columns[:, features.meaning + 1]
    assert new[-1] == new.max() > 0.5
    assert (new[2:-1] <= 0.0).all()


def test_spread_does_not_depend_on_length(features: Features) -> None:
    rng = np.random.default_rng(2)
    spreads = []
    for length in (10, 160):
        counts = sp.csr_matrix(rng.multinomial(length, np.full(PIECES - 2, 1 / (PIECES - 2)), 500).astype(np.float32))
        spreads.append(features.of(sp.hstack([sp.csr_matrix((500, 2), dtype=np.float32), counts]).tocsr())[:, 0].std())
    assert spreads[0] == pytest.approx(spreads[1], rel=0.2)


def test_an_empty_window_has_features_of_nothing(features: Features) -> None:
    assert not features.of(sp.csr_matrix((1, PIECES), dtype=np.float32)).any()

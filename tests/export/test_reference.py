"""Reference statistics: p-values are uniform on prompts like the training data, which held-out distances are for."""

import io

import numpy as np
import pytest
import scipy.sparse as sp

from export.features import fit_features
from export.reference import fit_reference, held_out_distances, write_arrays
from sidecar.bundle import arrays
from sidecar.bundle.manifest import NoveltyRule
from sidecar.routing.novelty import MAHALANOBIS, Novelty

PIECES = 60


def _counts(rows: int, seed: int, shift: float = 0.0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    topics = np.exp(np.random.default_rng(9).normal(0, 1.0, (3, PIECES)) + shift * np.linspace(-1, 1, PIECES))
    rates = 12.0 * topics / topics.sum(axis=1, keepdims=True)
    counts = rng.poisson(rates[rng.integers(0, 3, rows)]).astype(np.float32)
    counts[:, 0] = 0.0
    return sp.csr_matrix(counts)


@pytest.fixture(scope="module")
def measured() -> tuple[np.ndarray, np.ndarray]:
    """Novelty of new prompts like the training data, and of others."""
    vectors = np.random.default_rng(3).normal(size=(PIECES, 20)).astype(np.float32)
    known = _counts(600, 0)
    features = fit_features(known, vectors, 12)
    folds = np.arange(600) % 4
    reference = fit_reference(features.of(known), held_out_distances(known, features, folds))
    novelty = Novelty(NoveltyRule(kind=MAHALANOBIS), reference, np.array([0.5], np.float32))
    return novelty(features.of(_counts(1500, 1))), novelty(features.of(_counts(1500, 1, 3.0)))


def test_p_values_are_uniform_on_prompts_like_the_training_data(measured: tuple[np.ndarray, np.ndarray]) -> None:
    familiar, _ = measured
    deciles = np.quantile(familiar, np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, np.linspace(0.1, 0.9, 9), atol=0.08)


def test_other_prompts_are_more_novel(measured: tuple[np.ndarray, np.ndarray]) -> None:
    familiar, strange = measured
    assert strange.mean() > familiar.mean() + 0.2


def test_held_out_distances_exceed_those_within() -> None:
    vectors = np.random.default_rng(3).normal(size=(PIECES, 20)).astype(np.float32)
    known = _counts(80, 0)
    features = fit_features(known, vectors, 12)
    held_out = held_out_distances(known, features, np.arange(80) % 4)
    reference = fit_reference(features.of(known), held_out)
    within = (((features.of(known) - reference["mean"]) @ reference["whitening"]) ** 2).sum(axis=1)
    assert np.median(held_out) > np.median(within)


def test_whitening_gives_every_direction_unit_spread() -> None:
    embedding = (np.random.default_rng(0).normal(size=(2000, 5)) * [1, 5, 0.1, 2, 3] + 7).astype(np.float32)
    reference = fit_reference(embedding, np.ones(3, np.float32))
    white = (embedding - reference["mean"]) @ reference["whitening"]
    np.testing.assert_allclose(np.cov(white.T), np.eye(5), atol=0.01)


def test_arrays_are_read_back_by_the_bundle() -> None:
    given = {"mean": np.zeros(3, np.float32), "whitening": np.eye(3, dtype=np.float32), "null": np.ones(4, np.float32)}
    content = write_arrays(given)
    assert content == write_arrays(given)  # no time stamps: equal seeds give equal files
    read = arrays.read(content)
    assert all((read[name] == given[name]).all() for name in given)
    assert set(np.load(io.BytesIO(content))) == set(given)

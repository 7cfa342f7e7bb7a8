"""The reference statistics by which serving tells how unlike the training data a prompt is."""

import io
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from export.features import Features, rarity
from sidecar.types import Floats

# Added to each variance, as a share of it: few prompts span many dimensions.
RIDGE = 1e-3


def fit_reference(embedding: Floats, held_out: Floats) -> dict[str, Floats]:
    """The arrays that sidecar.routing.novelty measures with.

    Args:
        embedding: [N, D] of the training prompts.
        held_out: [K] distances of prompts from data that did not hold them.
    """
    mean, whitening = _spread(embedding)
    return {"mean": mean, "whitening": whitening, "null": np.sort(held_out).astype(np.float32)}


def held_out_distances(counts: sp.csr_matrix, features: Features, folds: NDArray[np.int64]) -> Floats:
    """[N] distance of each prompt from the other folds' prompts.

    Which pieces are rare is counted anew without the fold: in the whole data, no piece of it is new.
    """
    distances = np.zeros(counts.shape[0], np.float32)
    scaled = features.scaled(counts)
    meaning = np.asarray(scaled @ features.columns[:, : features.meaning])
    for fold in np.unique(folds):
        inside = folds == fold
        rare = np.asarray(scaled @ rarity(counts[~inside], features.weights))
        embedding = np.hstack([meaning, rare]).astype(np.float32)
        distances[inside] = distances_from(embedding[~inside], embedding[inside])
    return distances


def fold_distances(embedding: Floats, folds: NDArray[np.int64]) -> Floats:
    """[N] distance of each prompt from the other folds' prompts, for [N, D] embeddings that depend on no other prompt."""
    distances = np.zeros(len(embedding), np.float32)
    for fold in np.unique(folds):
        inside = folds == fold
        distances[inside] = distances_from(embedding[~inside], embedding[inside])
    return distances


def distances_from(known: Floats, asked: Floats) -> Floats:
    """[K] distances of embeddings [K, D] from the spread of others [N, D]."""
    mean, whitening = _spread(known)
    distances: Floats = (((asked - mean) @ whitening) ** 2).sum(axis=1)
    return distances


def write_arrays(arrays: Mapping[str, Floats]) -> bytes:
    """The bytes of reference.npz."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _spread(embedding: Floats) -> tuple[Floats, Floats]:
    mean = embedding.mean(axis=0)
    covariance = np.cov(embedding.T, dtype=np.float64).reshape(embedding.shape[1], -1)
    variance = np.maximum(np.diag(covariance), 1e-9)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance + np.diag(RIDGE * variance))).T
    return mean.astype(np.float32), whitening.astype(np.float32)

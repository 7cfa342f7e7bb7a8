"""From counted pieces to features: everything is a sum over pieces, divided by the root of the summed weights.

Such sums fold into one table with a row per vocabulary entry, so serving is a look-up, a sum and one small layer.

Weights are those of smooth inverse frequency (Arora, Liang, Ma, A Simple but Tough-to-Beat Baseline for Sentence
Embeddings, ICLR 2017): a / (a + p) for a piece of frequency p. Dividing by the root of their sum, not by the sum, keeps
the spread of a feature the same for short and long prompts.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sidecar.types import Floats

SMOOTHING = 1e-3
# A window of nothing but padding has no weight at all.
MIN_WEIGHT = 1e-3


@dataclass(frozen=True)
class Features:
    """What each of V pieces adds to the features.

    Attributes:
        weights: [V] weight of a piece.
        columns: [V, F] the piece's part in each feature, times its weight.
        meaning: how many of the features, from the first, are meaning; the rest say how rare the pieces are.
    """

    weights: Floats
    columns: Floats
    meaning: int

    def scaled(self, counts: sp.csr_matrix) -> sp.csr_matrix:
        """[N, V] counts, each row divided by the root of its summed weights."""
        total = np.maximum(np.asarray(counts @ self.weights).ravel(), MIN_WEIGHT)
        return sp.csr_matrix(sp.diags((1.0 / np.sqrt(total)).astype(np.float32)) @ counts)

    def of(self, counts: sp.csr_matrix) -> Floats:
        """[N, F] features of counted windows."""
        features: Floats = np.asarray(self.scaled(counts) @ self.columns, np.float32)
        return features


def fit_features(counts: sp.csr_matrix, vectors: Floats, dimensions: int) -> Features:
    """Fits weights, the directions in which prompts differ most, and rarity to training windows.

    Args:
        counts: [N, V] of the training windows.
        vectors: [V, D] a vector for each piece; zeros for PAD and UNKNOWN.
        dimensions: directions to keep; fewer if the data spans fewer.
    """
    seen = np.asarray(counts.sum(axis=0), np.float64).ravel()
    weights = SMOOTHING / (SMOOTHING + seen / max(seen.sum(), 1.0))
    weighted = (counts.multiply(weights)).tocsr()
    total = np.maximum(np.asarray(weighted.sum(axis=1)).ravel(), MIN_WEIGHT)
    mean = np.asarray(weighted.sum(axis=0)).ravel() @ vectors / max(total.sum(), MIN_WEIGHT)
    centred = vectors - mean
    means = (sp.diags(1.0 / total) @ weighted) @ centred
    _, spread, directions = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    kept = min(dimensions, int((spread > spread[0] * 1e-6).sum()))
    columns = weights[:, None] * (centred @ directions[:kept].T)
    pooled = np.asarray((sp.diags(1.0 / np.sqrt(total)) @ counts) @ columns)
    # The leading directions are the common ones, not the telling ones: dividing by the root of the deviation levels
    # them half way, which cross-validated better than not at all and than whitening.
    deviation = np.maximum(pooled.std(axis=0), 1e-9)
    columns = columns * (np.sqrt(3.0) / np.sqrt(deviation * deviation.max()))
    rare = rarity(counts, weights)
    features = np.hstack([columns, rare]).astype(np.float32)
    features[0] = 0.0  # padding
    return Features(_zero_first(weights).astype(np.float32), features, kept)


def rarity(counts: sp.csr_matrix, weights: NDArray[np.float64] | Floats) -> Floats:
    """[V, 2] how surprising a piece is and whether it is new, less what is usual for its weight."""
    prompts = np.asarray((counts > 0).sum(axis=0), np.float64).ravel()
    surprise = -np.log((prompts + 0.5) / (counts.shape[0] + 1.0))
    measures = np.stack([surprise, (prompts <= 1).astype(np.float64)], axis=1)
    seen = np.asarray(counts.sum(axis=0), np.float64).ravel()
    average = seen @ measures / max(float(seen @ weights), MIN_WEIGHT)
    relative = measures - np.asarray(weights, np.float64)[:, None] * average
    relative[0] = 0.0
    rare: Floats = relative.astype(np.float32)
    return rare


def _zero_first(values: NDArray[np.float64]) -> NDArray[np.float64]:
    changed = values.copy()
    changed[0] = 0.0
    return changed

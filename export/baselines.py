"""Routers that a learned one must beat to earn its place. Each is fitted on training outcomes."""

import numpy as np

from export.choices import Chosen, Forecast, Matrix
from export.outcomes import Outcomes
from sidecar.types import Floats

# Pseudo-labels at the overall mean, so that a segment of three prompts is not believed outright.
TABLE_CAUTION = 5.0
NEIGHBOURS = 40


def always_best(train: Outcomes) -> int:
    """Index of the candidate with the best mean quality on the training outcomes."""
    return int(np.nanmean(train.quality.astype(np.float64), axis=0).argmax())


def subject_table(train: Outcomes, test: Outcomes) -> Forecast:
    """Mean quality and length per segment; the overall means for segments that training never held."""
    quality, tokens = (_table(train, test, values) for values in (train.quality, train.output_tokens))
    return Forecast(quality, quality, tokens, np.zeros((len(test), 0), np.float32), np.zeros(len(test), np.float32))


def nearest(train: Outcomes, train_embedding: Floats, test_embedding: Floats, neighbours: int = NEIGHBOURS) -> Forecast:
    """Mean quality and length of the training prompts whose embeddings are nearest by cosine."""
    known, asked = _unit(train_embedding), _unit(test_embedding)
    count = min(neighbours, len(known))
    near = np.argpartition(-(asked @ known.T), count - 1, axis=1)[:, :count]
    quality, tokens = (_neighbour_means(values, near) for values in (train.quality, train.output_tokens))
    return Forecast(quality, quality, tokens, test_embedding, np.zeros(len(test_embedding), np.float32))


def _table(train: Outcomes, test: Outcomes, values: Floats) -> Floats:
    overall = _filled(_mean(values))
    result = np.tile(overall, (len(test), 1))
    for segment in train.segment_names():
        inside = values[train.segments == segment]
        known = (~np.isnan(inside)).sum(axis=0)
        total = np.where(np.isnan(inside), 0.0, inside).sum(axis=0)
        result[test.segments == segment] = (total + TABLE_CAUTION * overall) / (known + TABLE_CAUTION)
    return result.astype(np.float32)


def _neighbour_means(values: Floats, near: Chosen) -> Floats:
    overall = _filled(_mean(values))
    known = ~np.isnan(values)
    counts = known[near].sum(axis=1)
    totals = np.where(known, values, 0.0)[near].sum(axis=1)
    return np.where(counts > 0, totals / np.maximum(counts, 1), overall).astype(np.float32)


def _mean(values: Floats) -> Matrix:
    known = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        means: Matrix = np.where(np.isnan(values), 0.0, values).sum(axis=0, dtype=np.float64) / known
    return means


def _filled(means: Matrix) -> Matrix:
    """Candidates whose lengths nobody recorded cost as much as those where they are known, or nothing is told apart."""
    known = ~np.isnan(means)
    return np.where(known, means, means[known].mean() if known.any() else 0.0)


def _unit(embedding: Floats) -> Floats:
    unit: Floats = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-9)
    return unit

"""A small network with many heads, trained with numpy alone.

One hidden layer over learned piece vectors and the fixed features; per candidate one head for quality and one for the
length of its answer. While training, further heads name the prompt's segment and source: labels of quality are so noisy
that this teaches the hidden layer more than they do. Those heads are dropped at export.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sidecar.types import Floats

Labels = NDArray[np.int64]
Progress = Callable[[], object]

MANY_ROWS = 4000
EPOCHS = (6, 40)


@dataclass(frozen=True)
class Settings:
    """How a network is trained. The defaults were chosen by group-aware cross-validation on training data only.

    Attributes:
        hidden: width of the hidden layer.
        steps: of gradient descent, as far as the bounds on epochs allow.
        directions: how many of the features of meaning are used, the strongest first.
        rate: of learning, falling linearly to 2 % of itself.
        dropout: share of hidden units that a step leaves out.
        forget: share of pieces that a step leaves out of a prompt.
        auxiliary: weight of naming segment and source.
        lengths: weight of the answers' lengths.
        decay: of the weights on fixed features and of the heads, per unit of the rate.
        min_prompts: pieces of fewer prompts learn no vector of their own.
    """

    hidden: int = 64
    steps: int = 1000
    directions: int = 32
    rate: float = 3e-3
    dropout: float = 0.5
    forget: float = 0.3
    auxiliary: float = 1.0
    lengths: float = 1.0
    decay: float = 3.0
    min_prompts: int = 3

    def batch(self, rows: int) -> int:
        """Prompts per step."""
        return min(rows, 128 if rows >= MANY_ROWS else 64)

    def epochs(self, rows: int) -> int:
        """Passes over the data."""
        fewest, most = EPOCHS
        return min(max(round(self.steps * self.batch(rows) / rows), fewest), most)


@dataclass(frozen=True)
class Targets:
    """What the heads are to say, for N prompts and C candidates.

    Attributes:
        quality: [N, C] in [0, 1]; NaN where unknown.
        lengths: [N, C] answer length as a share of the candidate's longest; NaN where unknown.
        labels: each [N], such as segment and source; classes numbered from 0, -1 where unknown.
    """

    quality: Floats
    lengths: Floats
    labels: tuple[Labels, ...]

    def take(self, rows: NDArray[np.int64]) -> "Targets":
        """The targets of some prompts."""
        return Targets(self.quality[rows], self.lengths[rows], tuple(labels[rows] for labels in self.labels))

    def joined(self, other: "Targets") -> "Targets":
        """The targets of these prompts and then of others."""
        return Targets(
            np.concatenate([self.quality, other.quality]),
            np.concatenate([self.lengths, other.lengths]),
            tuple(map(np.concatenate, zip(self.labels, other.labels, strict=True))),
        )


@dataclass(frozen=True)
class Network:
    """A trained network: `relu(scaled @ table + bias) @ head + head_bias`.

    Attributes:
        table: [V, H] of the pieces.
        bias: [H].
        head: [H, 2C] quality first, then lengths.
        head_bias: [2C].
    """

    table: Floats
    bias: Floats
    head: Floats
    head_bias: Floats

    def logits(self, scaled: sp.csr_matrix) -> Floats:
        """[N, 2C] of scaled counts."""
        hidden = np.maximum(np.asarray(scaled @ self.table) + self.bias, 0.0)
        logits: Floats = hidden @ self.head + self.head_bias
        return logits


def stack(networks: Sequence[Network]) -> Network:
    """One wide network whose logits are the mean of those of the given ones."""
    return Network(
        np.hstack([n.table for n in networks]),
        np.hstack([n.bias for n in networks]),
        np.vstack([n.head for n in networks]) / np.float32(len(networks)),
        np.mean([n.head_bias for n in networks], axis=0, dtype=np.float32),
    )


def train_network(
    scaled: sp.csr_matrix, columns: Floats, targets: Targets, settings: Settings, seed: int, progress: Progress
) -> Network:
    """Trains one network.

    Args:
        scaled: [N, V] scaled counts of pieces.
        columns: [V, F] the fixed features of the pieces.
        targets: of the N prompts.
        settings: how.
        seed: of everything random; equal seeds give equal networks.
        progress: called after each epoch.
    """
    rng = np.random.default_rng(seed)
    learned = np.flatnonzero(np.asarray((scaled > 0).sum(axis=0)).ravel() >= settings.min_prompts)
    pieces = scaled[:, learned].tocsr()
    fixed = np.asarray(scaled @ columns, np.float32)
    centre = fixed.mean(axis=0)
    fixed = fixed - centre
    model = _Model(rng, pieces.shape[1], fixed.shape[1], targets, settings)
    rows = len(fixed)
    size, epochs = settings.batch(rows), settings.epochs(rows)
    steps = epochs * (rows // size)
    for epoch in range(epochs):
        order = rng.permutation(rows)
        for step, start in enumerate(range(0, rows - size + 1, size)):
            batch = order[start : start + size]
            done = (epoch * (rows // size) + step) / steps
            model.step(
                _forget(rng, pieces[batch], settings.forget), fixed[batch], targets.take(batch), 1.0 - 0.98 * done
            )
        progress()
    return model.network(columns, learned, centre)


def sigmoid(logits: Floats) -> Floats:
    """The logistic function, without overflow."""
    values: Floats = (0.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.float32)
    return values


class _Model:
    """The parameters while they are trained with Adam (Kingma, Ba, ICLR 2015)."""

    def __init__(self, rng: np.random.Generator, pieces: int, fixed: int, targets: Targets, settings: Settings) -> None:
        self._rng, self._settings = rng, settings
        self._candidates = targets.quality.shape[1]
        self._classes = [int(labels.max()) + 1 for labels in targets.labels]
        heads = 2 * self._candidates + sum(self._classes)
        width = settings.hidden
        normal = rng.standard_normal
        start = np.zeros(heads, np.float32)
        start[: self._candidates] = _prior_logits(targets.quality)
        start[self._candidates : 2 * self._candidates] = _prior_logits(targets.lengths)
        self._parameters = [
            np.zeros((pieces, width), np.float32),
            (normal((fixed, width)) / np.sqrt(fixed)).astype(np.float32),
            np.zeros(width, np.float32),
            (normal((width, heads)) * 0.5 / np.sqrt(width)).astype(np.float32),
            start,
        ]
        self._decay = [0.0, settings.decay, 0.0, settings.decay, 0.0]
        self._first = [np.zeros_like(p) for p in self._parameters]
        self._second = [np.zeros_like(p) for p in self._parameters]
        self._steps = 0

    def step(self, pieces: sp.csr_matrix, fixed: Floats, targets: Targets, rate: float) -> None:
        table, weights, bias, head, head_bias = self._parameters
        before = np.asarray(pieces @ table) + fixed @ weights + bias
        keep = (self._rng.random(before.shape) >= self._settings.dropout) / (1.0 - self._settings.dropout)
        open_ = (keep * (before > 0)).astype(np.float32)
        hidden = before * open_
        error = self._error(hidden @ head + head_bias, targets) / np.float32(len(fixed))
        back = (error @ head.T) * open_
        self._adam([pieces.T @ back, fixed.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)], rate)

    def _error(self, logits: Floats, targets: Targets) -> Floats:
        """Gradient of the losses by the logits; an unknown label has none."""
        error = np.zeros_like(logits)
        count = self._candidates
        # Four, not one, only balances quality against the auxiliary heads at the learning rates used.
        scale = 4.0 / count
        error[:, :count] = scale * _known(sigmoid(logits[:, :count]) - targets.quality)
        lengths = slice(count, 2 * count)
        error[:, lengths] = scale * self._settings.lengths * _known(sigmoid(logits[:, lengths]) - targets.lengths)
        at = 2 * count
        for labels, classes in zip(targets.labels, self._classes, strict=True):
            chances = _softmax(logits[:, at : at + classes])
            named = labels >= 0
            chances[np.flatnonzero(named), labels[named]] -= 1.0
            chances[~named] = 0.0
            error[:, at : at + classes] = self._settings.auxiliary * chances
            at += classes
        return error

    def _adam(self, gradients: Sequence[Floats], rate: float) -> None:
        self._steps += 1
        rate *= self._settings.rate
        size = rate * np.sqrt(1.0 - 0.999**self._steps) / (1.0 - 0.9**self._steps)
        parts = zip(self._parameters, gradients, self._first, self._second, self._decay, strict=True)
        for parameter, gradient, first, second, decay in parts:
            first[...] += np.float32(0.1) * (gradient - first)
            second[...] += np.float32(0.001) * (gradient * gradient - second)
            parameter[...] -= np.float32(size) * first / (np.sqrt(second) + np.float32(1e-8))
            parameter[...] *= np.float32(1.0 - rate * decay)

    def network(self, columns: Floats, learned: Labels, centre: Floats) -> Network:
        """The trained network, its fixed features folded into the table."""
        table, weights, bias, head, head_bias = self._parameters
        folded = columns @ weights
        folded[learned] += table
        used = 2 * self._candidates
        return Network(folded, bias - centre @ weights, head[:, :used].copy(), head_bias[:used].copy())


def _forget(rng: np.random.Generator, pieces: sp.csr_matrix, share: float) -> sp.csr_matrix:
    kept = (rng.random(len(pieces.data)) >= share).astype(np.float32) / np.float32(1.0 - share)
    return sp.csr_matrix((pieces.data * kept, pieces.indices, pieces.indptr), pieces.shape)


def _known(error: Floats) -> Floats:
    known: Floats = np.nan_to_num(error, nan=0.0)
    return known


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: Floats = powers / powers.sum(axis=1, keepdims=True)
    return chances


def _prior_logits(values: Floats) -> Floats:
    known = ~np.isnan(values)
    mean = (np.nansum(values, axis=0) + 0.5) / (known.sum(axis=0) + 1.0)
    logits: Floats = np.log(mean / (1.0 - mean)).astype(np.float32)
    return logits

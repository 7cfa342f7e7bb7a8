"""Heads and the encoder in front of which they were trained, for whichever training prompts they may see."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from export.encoder.heads import Heads, HeadSettings, Scaled, standardised, train_heads
from export.encoder.pooling import Progress
from export.encoder.tokens import Rows
from export.encoder.vectors import Vectors
from export.network import Targets
from sidecar.types import Floats

# Drawn apart from the seeds of the members.
_FIT_SEED = 100


class Fit(NamedTuple):
    """Trained heads with their encoder.

    Attributes:
        vectors: the encoder and its tokenizer.
        heads: whose logits are averaged.
        scaled: the standardisation that they were trained behind.
        of: pooled vectors [K, F] of training prompts, by their numbers.
    """

    vectors: Vectors
    heads: list[Heads]
    scaled: Scaled
    of: Callable[[Rows], Floats]

    def logits(self, rows: Rows) -> Floats:
        """[K, 2C] of training prompts."""
        return logits_of(self.heads, self.scaled, self.of(rows))


class Fits(Protocol):
    """A way to fit: with the encoder as it is, or with its last layers tuned."""

    @property
    def about(self) -> str:
        """What was done with the encoder, in words."""

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of it."""

    def fit(self, rows: Rows, number: int, unseen: Rows | None = None) -> Fit:
        """Trains on some rows.

        Args:
            rows: that may be seen.
            number: tells the seeds from those of other rows.
            unseen: by which training may be judged.
        """


class Task(NamedTuple):
    """What every fit needs.

    Attributes:
        vectors: the encoder as it was, and its tokenizer.
        targets: of all training prompts.
        heads: settings of the heads.
        members: heads of a fit.
        threads: of the processor.
        seed: of everything random.
        progress: called after each member.
    """

    vectors: Vectors
    targets: Targets
    heads: HeadSettings
    members: int
    threads: int
    seed: int
    progress: Progress

    def seed_of(self, number: int) -> int:
        """The first seed of a fit; as many as it has members belong to it."""
        return self.seed * 1000 + number * _FIT_SEED

    def fitted(self, values: Floats, rows: Rows, number: int) -> Fit:
        """Heads on pooled vectors [N, F] of all prompts, trained on some."""
        scaled = standardised(values[rows])
        seen, targets = scaled(values[rows]), self.targets.take(rows)
        torch.set_num_threads(1)  # steps this small are slower on two, four times so where the machine is busy
        trained = []
        for member in range(self.members):
            trained.append(train_heads(seen, targets, self.heads, self.seed_of(number) + member))
            self.progress()
        torch.set_num_threads(self.threads)
        return Fit(self.vectors, trained, scaled, values.__getitem__)


class Frozen:
    """Heads over an encoder that stays as it is.

    Args:
        task: what is learnt.
        values: [N, F] pooled vectors of all training prompts.
    """

    about = "not changed by training"

    def __init__(self, task: Task, values: Floats) -> None:
        self._task, self._values = task, values
        self.metrics: dict[str, float] = {}

    def fit(self, rows: Rows, number: int, _unseen: Rows | None = None) -> Fit:
        """Trains heads on some rows."""
        return self._task.fitted(self._values, rows, number)


def logits_of(heads: Sequence[Heads], scaled: Scaled, values: Floats) -> Floats:
    """[K, 2C] mean logits of pooled vectors [K, F]."""
    inputs = scaled(values)
    with torch.inference_mode():
        found = torch.stack([member(inputs) for member in heads]).mean(dim=0)
    logits: Floats = found[:, : 2 * heads[0].candidates].numpy()
    return logits


def cross_fitted(fits: Fits, folds: Rows, candidates: int) -> tuple[Fit, Floats]:
    """The fit that did not see the first fold, and [N, 2C] logits by fits that had not seen the prompt."""
    logits = np.zeros((len(folds), 2 * candidates), np.float32)

    def without(fold: int) -> Fit:
        unseen = np.flatnonzero(folds == fold)
        fit = fits.fit(np.flatnonzero(folds != fold), fold + 1, unseen)
        logits[unseen] = fit.logits(unseen)
        return fit

    first = without(0)
    for fold in range(1, int(folds.max()) + 1):
        without(fold)
    return first, logits

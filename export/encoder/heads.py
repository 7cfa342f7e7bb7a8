"""Heads over pooled vectors: quality and answer length per candidate.

While training, further heads name the prompt's segment and source, as in the static family.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.network import Targets
from sidecar.types import Floats

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class HeadSettings:
    """How heads are trained. The defaults were chosen by group-aware cross-validation on routing_train only.

    Attributes:
        hidden: width of the hidden layer.
        epochs: passes over the data.
        steps: fewest steps, where the data is small.
        batch: prompts per step.
        rate: of learning, falling linearly to zero.
        forget: share of the pooled values that a step leaves out.
        dropout: share of hidden units that a step leaves out.
        decay: of the weights, per unit of the rate.
        auxiliary: weight of naming segment and source.
        lengths: weight of the answers' lengths.
    """

    hidden: int = 256
    epochs: int = 12
    steps: int = 300
    batch: int = 64
    rate: float = 1e-3
    forget: float = 0.4
    dropout: float = 0.5
    decay: float = 0.1
    auxiliary: float = 1.0
    lengths: float = 1.0


class Heads(nn.Module):
    """[B, F] standardised pooled vectors to [B, 2C + classes] logits: quality, lengths, segments and sources."""

    def __init__(self, features: int, targets: Targets, settings: HeadSettings) -> None:
        super().__init__()
        self.candidates = targets.quality.shape[1]
        self.classes = [int(labels.max()) + 1 for labels in targets.labels]
        self.forget = nn.Dropout(settings.forget)
        self.hidden = nn.Linear(features, settings.hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.out = nn.Linear(settings.hidden, 2 * self.candidates + sum(self.classes))

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.out(self.dropout(functional.gelu(self.hidden(self.forget(features)))))
        return logits


class Loss:
    """Cross entropy of every head; an unknown label has none.

    Args:
        targets: of N prompts.
        settings: weights of the heads.
    """

    def __init__(self, targets: Targets, settings: HeadSettings) -> None:
        self._count = targets.quality.shape[1]
        values = torch.from_numpy(np.concatenate([targets.quality, targets.lengths], axis=1))
        self._known = (~torch.isnan(values)).float()
        self._known[:, self._count :] *= settings.lengths
        self._values = torch.nan_to_num(values)
        self._labels = [torch.from_numpy(labels) for labels in targets.labels]
        self._auxiliary = settings.auxiliary

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The loss of these rows' logits."""
        count = 2 * self._count
        single = functional.binary_cross_entropy_with_logits(logits[:, :count], self._values[rows], reduction="none")
        # Four, not one, only balances quality against the auxiliary heads, as in the static family.
        loss: Tensor = (single * self._known[rows]).sum() * (4.0 / self._count / len(rows))
        for labels in self._labels:
            classes = int(labels.max()) + 1
            loss = loss + self._auxiliary * functional.cross_entropy(logits[:, count : count + classes], labels[rows])
            count += classes
        return loss


@dataclass(frozen=True)
class Scaled:
    """How pooled vectors are standardised.

    Attributes:
        mean: [F].
        deviation: [F].
    """

    mean: Floats
    deviation: Floats

    def __call__(self, values: Floats) -> Tensor:
        """[N, F] standardised."""
        return torch.from_numpy((values - self.mean) / self.deviation)


def standardised(values: Floats) -> Scaled:
    """The standardisation of these vectors."""
    return Scaled(values.mean(axis=0), values.std(axis=0) + np.float32(1e-6))


def train_heads(values: Tensor, targets: Targets, settings: HeadSettings, seed: int) -> Heads:
    """Trains heads on [N, F] standardised vectors; equal seeds give equal heads."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads(values.shape[1], targets, settings)
        loss = Loss(targets, settings)
        optimiser = torch.optim.AdamW(heads.parameters(), lr=settings.rate, weight_decay=settings.decay)
        size = min(settings.batch, len(values))
        inside = len(values) // size
        epochs = max(settings.epochs, -(-settings.steps // inside))
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=epochs * inside)
        heads.train()
        for _ in range(epochs):
            order = torch.randperm(len(values), generator=generator)
            for at in range(0, inside * size, size):
                rows = order[at : at + size]
                optimiser.zero_grad()
                loss(heads(values[rows]), rows).backward()
                optimiser.step()
                schedule.step()
    return heads.eval()

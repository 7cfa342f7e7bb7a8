"""Fine-tuning: the heads are trained first, then they and the encoder's last layers together.

Heads that fit already do not pull the layers about while they are random themselves (Kumar et al., Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution, ICLR 2022). Weights decay towards the pretrained ones, not towards
zero (Li, Grandvalet, Davoine, Explicit Inductive Bias for Transfer Learning, ICML 2018), and lower layers learn more slowly
(Howard, Ruder, Universal Language Model Fine-tuning, ACL 2018).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from export.encoder.heads import Heads, Loss, Scaled
from export.encoder.pooling import Progress
from export.encoder.states import States
from export.encoder.tokens import Rows
from export.encoder.upper import Upper
from export.errors import DataError
from sidecar.types import Floats

# Rows are sorted by length within so many batches: padding is computed too, and order should stay mostly chance.
_SORTED_BATCHES = 16

Judge = Callable[[Upper, Sequence[Heads]], float]


@dataclass(frozen=True)
class TuneSettings:
    """How layers are tuned.

    Attributes:
        layers: that are tuned, the last ones; 0 leaves the encoder as it is.
        epochs: most passes over the data; the held-out Brier score says how many are kept.
        batch: prompts per step.
        rate: of learning in the last layer, after a warm-up falling linearly to zero.
        layer_decay: a layer's rate over that of the one above.
        head_rate: of learning in the heads.
        head_decay: of the heads' weights, per unit of the rate.
        warmup: share of the steps in which the rate rises.
        pull: decay towards the pretrained weights, per unit of the rate.
        dropout: share of a layer's values that a step leaves out.
        clip: longest gradient of the layers.
    """

    layers: int = 0
    epochs: int = 3
    batch: int = 32
    rate: float = 5e-5
    layer_decay: float = 0.8
    head_rate: float = 1e-4
    head_decay: float = 0.1
    warmup: float = 0.1
    pull: float = 1.0
    dropout: float = 0.1
    clip: float = 1.0


class Tuned(NamedTuple):
    """Layers and heads after tuning.

    Attributes:
        upper: the layers.
        heads: in front of them.
        epochs: after which they were best; 0: as they were.
        scores: what the judge said of them before the first epoch and after each.
    """

    upper: Upper
    heads: list[Heads]
    epochs: int
    scores: list[float]


class Material(NamedTuple):
    """What is tuned on.

    Attributes:
        values: [N, F] pooled vectors by the encoder as it was.
        states: of the N rows, below the layers.
        scaled: the standardisation that the heads were trained behind.
        loss: of the heads, by row.
        rows: that may be learnt from.
    """

    values: Floats
    states: States
    scaled: Scaled
    loss: Loss
    rows: Rows


def tune(
    upper: Upper,
    heads: Sequence[Heads],
    material: Material,
    settings: TuneSettings,
    seed: int,
    epochs: int,
    judge: Judge | None = None,
    progress: Progress = lambda: None,
) -> Tuned:
    """Tunes layers and heads together; neither is changed, copies are.

    Args:
        upper: the layers.
        heads: trained in front of them; every one learns on its own, the layers from all.
        material: to learn from.
        settings: how.
        seed: of everything random.
        epochs: passes over the data; the rate falls as for settings.epochs.
        judge: a score, the lower the better; the best epoch's weights are kept, and the first epoch that is no better ends
            it. Without one, the last epoch's are.
        progress: called after each epoch.

    Raises:
        DataError: the loss is no number.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        run = _Run(upper, heads, material, settings, seed)
        if judge is None:
            for epoch in range(epochs):
                run.epoch(epoch)
                progress()
            return Tuned(run.upper.eval(), [each.eval() for each in run.heads], epochs, [])
        best = Tuned(copy.deepcopy(upper).eval(), copy.deepcopy(list(heads)), 0, [])
        scores = [judge(best.upper, best.heads)]
        for epoch in range(epochs):
            run.epoch(epoch)
            progress()
            scores.append(judge(run.upper.eval(), [each.eval() for each in run.heads]))
            if scores[-1] >= min(scores[:-1]):
                break
            best = Tuned(copy.deepcopy(run.upper), copy.deepcopy(run.heads), epoch + 1, [])
        return best._replace(scores=scores)


class _Run:
    """The parameters while they are tuned."""

    def __init__(
        self, upper: Upper, heads: Sequence[Heads], material: Material, settings: TuneSettings, seed: int
    ) -> None:
        self.upper, self.heads = copy.deepcopy(upper), copy.deepcopy(list(heads))
        self._material, self._settings = material, settings
        self._rng = np.random.default_rng(seed)
        self._layers = [list(layer.parameters()) for layer in self.upper.layers]
        self._start = [[each.detach().clone() for each in layer] for layer in self._layers]
        top = len(self._layers) - 1
        groups = [
            {"params": layer, "lr": settings.rate * settings.layer_decay ** (top - at), "weight_decay": 0.0}
            for at, layer in enumerate(self._layers)
        ]
        of_heads = [each for member in self.heads for each in member.parameters()]
        self._optimiser = torch.optim.AdamW(
            [*groups, {"params": of_heads, "lr": settings.head_rate, "weight_decay": settings.head_decay}]
        )
        inside = -(-len(material.rows) // settings.batch)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: _share(step, inside * settings.epochs, settings.warmup)
        )
        self._mean, self._deviation = (
            torch.from_numpy(material.scaled.mean),
            torch.from_numpy(material.scaled.deviation),
        )

    def epoch(self, number: int) -> None:
        """One pass over the rows."""
        self.upper.train()
        for member in self.heads:
            member.train()
        for batch in self._batches():
            rows = torch.from_numpy(batch)
            features = self._features(batch)
            loss = torch.stack([self._material.loss(member(features), rows) for member in self.heads]).mean()
            self._optimiser.zero_grad()
            loss.backward()
            length = nn.utils.clip_grad_norm_(self.upper.parameters(), self._settings.clip)
            if not bool(torch.isfinite(loss) & torch.isfinite(length)):
                raise DataError(
                    f"--tune-layers: the loss or its gradient is no number in epoch {number + 1}; tune fewer layers, or more"
                    " slowly (--tune-rate)."
                )
            self._optimiser.step()
            self._pull_back()
            self._schedule.step()

    def _batches(self) -> Iterator[Rows]:
        """All rows in batches of about equal length, in an order that is mostly chance."""
        size = self._settings.batch
        order = self._rng.permutation(self._material.rows)
        batches: list[Rows] = []
        for at in range(0, len(order), size * _SORTED_BATCHES):
            some = order[at : at + size * _SORTED_BATCHES]
            some = some[np.argsort(self._material.states.lengths[some], kind="stable")]
            batches += [some[start : start + size] for start in range(0, len(some), size)]
        for at in self._rng.permutation(len(batches)):
            yield batches[at]

    def _features(self, batch: Rows) -> Tensor:
        lower = torch.from_numpy(self._material.values[batch, : self.upper.lower])
        features = torch.cat([lower, self.upper(*self._material.states.take(batch))], dim=1)
        return (features - self._mean) / self._deviation

    def _pull_back(self) -> None:
        with torch.no_grad():
            for group, layer, start in zip(self._optimiser.param_groups, self._layers, self._start, strict=False):
                for parameter, before in zip(layer, start, strict=True):
                    parameter.lerp_(before, min(group["lr"] * self._settings.pull, 1.0))


def _share(step: int, steps: int, warmup: float) -> float:
    """Of the largest rate."""
    rising = max(warmup * steps, 1.0)
    return min((step + 1) / rising, max(steps - step, 0) / max(steps - rising, 1.0), 1.0)

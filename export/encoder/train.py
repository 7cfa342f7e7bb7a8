"""From outcomes to a router over a pretrained encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from export.calibration import calibration_error, fit_platt
from export.encoder.base import MINILM
from export.encoder.direction import novelty_direction
from export.encoder.heads import Heads, HeadSettings, standardised, train_heads
from export.encoder.module import Router, folded
from export.encoder.onnx_files import model_files
from export.encoder.precision import Held, losses
from export.encoder.vectors import Vectors, vectors_of
from export.folds import group_folds
from export.network import Targets, sigmoid
from export.outcomes import Outcomes
from export.prices import Price
from export.reference import fit_reference, fold_distances
from export.router import Family, Progress
from export.targets import Lengths, known_means, targets_of
from export.train import SHRINKAGE
from export.unseen import Unseen
from export.windows import windows_of
from sidecar.bundle.manifest import MODEL, MODEL_FP32, TOKENIZER
from sidecar.scoring.recipe import TextRecipe
from sidecar.types import Floats

# Drawn apart from the seeds of the members.
_FOLD_SEED = 100


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder router is trained.

    Attributes:
        base: the pretrained encoder; see export.encoder.base.
        seed: of everything random.
        members: heads that are averaged.
        folds: of the cross-validation that calibrates.
        max_tokens: that are read of a window.
        threads: of the processor.
        heads: settings of the heads.
        recipe: which text of a request is scored.
        shrinkage: parameters of sidecar.routing.novelty.
        keep_fp32: the bundle holds the model in full precision too.
        measure: what int8 and half precision lose, on a router of its own that never saw the first fold.
    """

    base: str = MINILM
    seed: int = 0
    members: int = 3
    folds: int = 4
    max_tokens: int = 256
    threads: int = 2
    heads: HeadSettings = field(default_factory=HeadSettings)
    recipe: TextRecipe = field(default_factory=TextRecipe)
    shrinkage: dict[str, float] = field(default_factory=lambda: dict(SHRINKAGE))
    keep_fp32: bool = False
    measure: bool = True

    def rounds(self, rows: int) -> int:
        """How often `progress` is called while training on so many rows."""
        return Vectors.batches(rows) + self.folds * self.members + self.members

    def train(self, outcomes: Outcomes, prices: Sequence[Price], progress: Progress = lambda: None) -> "TrainedEncoder":
        """Trains a router; see `train`."""
        return train(outcomes, prices, self, progress)


@dataclass(frozen=True)
class TrainedEncoder:
    """A trained router; for the attributes see export.router.Router.

    Attributes:
        router: the module.
        vectors: its encoder and tokenizer.
        models: the files of the router by name.
    """

    router: Router
    vectors: Vectors
    models: Mapping[str, bytes]
    reference: dict[str, Floats]
    prior: Floats
    mean_tokens: Floats
    metrics: dict[str, float]
    windows: tuple[str, ...]
    unseen: Unseen
    about: str
    family: ClassVar[Family] = "encoder"
    # Activations are quantised per batch, so a score depends a little on what it is scored with.
    parity: ClassVar[float] = 0.1
    golden_tolerance: ClassVar[float] = 0.05

    @property
    def pad_id(self) -> int:
        """Fills short rows."""
        return self.vectors.base.pad_id

    def files(self) -> dict[str, bytes]:
        """The models and their tokenizer."""
        return {**self.models, TOKENIZER: self.vectors.base.tokenizer}

    def scores(self, windows: Sequence[str], max_tokens: int) -> tuple[Floats, Floats, Floats]:
        """Quality before shrinkage, embedding and output tokens, in full precision."""
        with torch.inference_mode():
            found = self.router.of_pooled(torch.from_numpy(self.vectors.of(windows, max_tokens)))
        quality, embedding, tokens = (found[name].numpy() for name in ("quality", "embedding", "output_tokens"))
        return quality, embedding, tokens


def train(
    outcomes: Outcomes, prices: Sequence[Price], options: EncoderOptions, progress: Progress = lambda: None
) -> TrainedEncoder:
    """Trains, calibrates, exports and measures a router.

    Args:
        outcomes: to learn from.
        prices: of the candidates; the losses of lower precision are measured at equal cost.
        options: how.
        progress: called options.rounds(len(outcomes)) times.

    Raises:
        DataError: a candidate has too few labels, there are too few prompts, or the base cannot be loaded.
    """
    torch.set_num_threads(options.threads)
    targets, lengths = targets_of(outcomes)
    windows = windows_of(options.recipe, outcomes.prompts)
    folds = group_folds(outcomes.groups, options.folds, options.seed)
    vectors = vectors_of(options.base)
    values = vectors.of(windows, options.max_tokens, progress)
    maker = _Maker(vectors, values, targets, lengths, options, progress)
    members, logits = maker.cross_fitted(folds)
    logits, length_logits = np.split(logits, 2, axis=1)
    slope, intercept = fit_platt(logits, outcomes.quality)
    router = maker.router(np.arange(len(values)), maker.members(np.arange(len(values)), 0), slope, intercept)
    calibrated = sigmoid(logits * slope + intercept)
    unseen = Unseen(calibrated, sigmoid(length_logits) * lengths.longest)
    metrics = {
        "cross_validated_ece": calibration_error(calibrated, outcomes.quality),
        "cross_validated_ece_uncalibrated": calibration_error(sigmoid(logits), outcomes.quality),
        "cross_validated_brier": float(np.nanmean((calibrated - outcomes.quality) ** 2)),
    }
    embedding = values @ router.direction.numpy()
    if options.measure:
        first = np.flatnonzero(folds == 0)
        held = Held(
            maker.router(np.flatnonzero(folds != 0), members[0], slope, intercept),
            outcomes.take(first),
            prices,
            vectors.rows([windows[row] for row in first], options.max_tokens),
            values[folds != 0],
        )
        measured, distances = losses(held)
        metrics |= measured
    else:
        distances = fold_distances(embedding, folds)
    models = model_files(router)
    kept = {name: content for name, content in models.items() if options.keep_fp32 or name != MODEL_FP32}
    reference = fit_reference(embedding, distances)
    about = f"Encoder: {vectors.base.name}, not changed by training; int8 weights in {MODEL}."
    prior = known_means(outcomes.quality)
    return TrainedEncoder(router, vectors, kept, reference, prior, lengths.mean, metrics, windows, unseen, about)


@dataclass(frozen=True)
class _Maker:
    """Heads and routers over pooled vectors of the training prompts."""

    vectors: Vectors
    values: Floats
    targets: Targets
    lengths: Lengths
    options: EncoderOptions
    progress: Progress

    def members(self, rows: NDArray[np.int64], number: int) -> list[Heads]:
        """Heads trained on some rows; `number` tells their seeds from those of other rows."""
        values = standardised(self.values[rows])(self.values[rows])
        torch.set_num_threads(1)  # steps this small are slower on two, four times so where the machine is busy
        trained = []
        for member in range(self.options.members):
            seed = self.options.seed * 1000 + number * _FOLD_SEED + member
            trained.append(train_heads(values, self.targets.take(rows), self.options.heads, seed))
            self.progress()
        torch.set_num_threads(self.options.threads)
        return trained

    def cross_fitted(self, folds: NDArray[np.int64]) -> tuple[list[list[Heads]], Floats]:
        """The heads that did not see each fold, and [N, 2C] logits by heads that had not seen the prompt."""
        logits = np.zeros((len(folds), 2 * self.targets.quality.shape[1]), np.float32)
        members = []
        for fold in range(self.options.folds):
            rows, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            members.append(self.members(rows, fold + 1))
            values = standardised(self.values[rows])(self.values[unseen])
            with torch.inference_mode():
                found = torch.stack([heads(values) for heads in members[-1]]).mean(dim=0)
            logits[unseen] = found[:, : logits.shape[1]].numpy()
        return members, logits

    def router(self, rows: NDArray[np.int64], members: Sequence[Heads], slope: Floats, intercept: Floats) -> Router:
        """A calibrated router from heads that were trained on these rows; a length of which nothing is known is constant."""
        values = self.values[rows]
        known = np.where(self.lengths.mean == 0.0, 0.0, 1.0).astype(np.float32)
        return folded(
            self.vectors.pooling,
            members,
            standardised(values),
            np.concatenate([slope, known]),
            np.concatenate([intercept, np.zeros_like(intercept)]),
            novelty_direction(values, self.vectors.pooling),
            self.lengths.longest,
        )

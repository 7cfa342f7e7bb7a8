"""From outcomes to a router over a pretrained encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from export.calibration import calibration_error, fit_platt
from export.encoder.base import MINILM
from export.encoder.direction import novelty_direction
from export.encoder.fits import Fit, Fits, Frozen, Task, cross_fitted
from export.encoder.heads import HeadSettings
from export.encoder.module import Router, folded
from export.encoder.onnx_files import model_files
from export.encoder.precision import Held, losses
from export.encoder.tuned import TunedFits
from export.encoder.tuning import TuneSettings
from export.encoder.vectors import Vectors, vectors_of
from export.folds import group_folds
from export.network import sigmoid
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
        tuning: of the encoder's last layers.
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
    tuning: TuneSettings = field(default_factory=TuneSettings)
    recipe: TextRecipe = field(default_factory=TextRecipe)
    shrinkage: dict[str, float] = field(default_factory=lambda: dict(SHRINKAGE))
    keep_fp32: bool = False
    measure: bool = True

    def rounds(self, rows: int) -> int:
        """How often `progress` is called at most while training on so many rows."""
        epochs = self.tuning.epochs if self.tuning.layers else 0
        return Vectors.batches(rows) + (self.folds + 1) * (self.members + epochs)

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
        progress: called at most options.rounds(len(outcomes)) times; tuning may end early.

    Raises:
        DataError: a candidate has too few labels, there are too few prompts, the base cannot be loaded or tuned, or tuning
            diverges.
    """
    torch.set_num_threads(options.threads)
    targets, lengths = targets_of(outcomes)
    windows = windows_of(options.recipe, outcomes.prompts)
    folds = group_folds(outcomes.groups, options.folds, options.seed)
    vectors = vectors_of(options.base)
    task = Task(vectors, targets, options.heads, options.members, options.threads, options.seed, progress)
    everything = np.arange(len(outcomes))
    with TemporaryDirectory() as scratch:
        fits = _fits(task, options, outcomes.quality, windows, Path(scratch))
        first, both = cross_fitted(fits, folds, len(outcomes.candidates))
        final = fits.fit(everything, 0)
        seen, values = first.of(np.flatnonzero(folds != 0)), final.of(everything)
    logits, length_logits = np.split(both, 2, axis=1)
    slope, intercept = fit_platt(logits, outcomes.quality)
    calibration = _Calibration(slope, intercept, lengths)
    router = calibration.router(final, values)
    calibrated = sigmoid(logits * slope + intercept)
    unseen = Unseen(calibrated, sigmoid(length_logits) * lengths.longest)
    metrics = {
        "cross_validated_ece": calibration_error(calibrated, outcomes.quality),
        "cross_validated_ece_uncalibrated": calibration_error(sigmoid(logits), outcomes.quality),
        "cross_validated_brier": float(np.nanmean((calibrated - outcomes.quality) ** 2)),
        **fits.metrics,
    }
    embedding = values @ router.direction.numpy()
    if options.measure:
        apart = np.flatnonzero(folds == 0)
        rows = vectors.rows([windows[row] for row in apart], options.max_tokens)
        held = Held(calibration.router(first, seen), outcomes.take(apart), prices, rows, seen)
        measured, distances = losses(held)
        metrics |= measured
    else:
        distances = fold_distances(embedding, folds)
    models = model_files(router)
    kept = {name: content for name, content in models.items() if options.keep_fp32 or name != MODEL_FP32}
    reference = fit_reference(embedding, distances)
    about = f"Encoder: {vectors.base.name}, {fits.about}; int8 weights in {MODEL}."
    prior = known_means(outcomes.quality)
    return TrainedEncoder(router, final.vectors, kept, reference, prior, lengths.mean, metrics, windows, unseen, about)


def _fits(task: Task, options: EncoderOptions, quality: Floats, windows: Sequence[str], scratch: Path) -> Fits:
    if not options.tuning.layers:
        return Frozen(task, task.vectors.of(windows, options.max_tokens, task.progress))
    rows = task.vectors.rows(windows, options.max_tokens)
    return TunedFits(task, options.tuning, quality, rows, scratch / "states")


class _Calibration(NamedTuple):
    """What turns logits into quality and lengths."""

    slope: Floats
    intercept: Floats
    lengths: Lengths

    def router(self, fit: Fit, values: Floats) -> Router:
        """A calibrated router; a length of which nothing is known is constant.

        Args:
            fit: its heads and encoder.
            values: [K, F] pooled vectors of the prompts that it saw.
        """
        known = np.where(self.lengths.mean == 0.0, 0.0, 1.0).astype(np.float32)
        return folded(
            fit.vectors.pooling,
            fit.heads,
            fit.scaled,
            np.concatenate([self.slope, known]),
            np.concatenate([self.intercept, np.zeros_like(self.intercept)]),
            novelty_direction(values, fit.vectors.pooling),
            self.lengths.longest,
        )

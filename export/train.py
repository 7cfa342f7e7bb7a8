"""From outcomes to a router's numbers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from export import graph
from export.calibration import calibration_error, fit_platt
from export.features import Features, fit_features
from export.folds import group_folds
from export.lessons import Lessons
from export.network import Network, Progress, Settings, Targets, sigmoid, stack, train_network
from export.outcomes import Outcomes
from export.prices import Price
from export.reference import fit_reference, held_out_distances
from export.router import Family
from export.targets import known_means, targets_of
from export.unseen import Unseen
from export.vocabulary import Vocabulary, derive
from export.windows import windows_of
from export.wordvectors import read_wordvectors
from sidecar.bundle.manifest import MODEL, TOKENIZER
from sidecar.scoring.recipe import TextRecipe
from sidecar.types import Floats

# Of sidecar.routing.novelty. Chosen on routing_train alone: leaving out one segment at a time, it is .5 points under the best
# single candidate (1.3 without shrinkage), and cross-validated it costs .3 points of quality on known segments. What
# novelty does not see, the floor does: a small difference between candidates seldom holds on a new kind of prompt.
SHRINKAGE = {"start": 0.0, "strength": 1.0, "power": 2.0, "floor": 0.4, "common": 0.0}


@dataclass(frozen=True)
class Options:
    """How a router is trained.

    Attributes:
        seed: of everything random.
        members: networks that are averaged.
        folds: of the cross-validation that calibrates.
        dimensions: of the embedding's meaning.
        max_tokens: entries of the vocabulary that are read of a window.
        workers: networks trained at a time.
        network: settings of each network.
        recipe: which text of a request is scored.
        shrinkage: parameters of sidecar.routing.novelty.
        lessons: of a teacher, for exactly the outcomes that are trained on.
    """

    seed: int = 0
    members: int = 2
    folds: int = 4
    dimensions: int = 64
    max_tokens: int = 512
    workers: int = 2
    network: Settings = field(default_factory=Settings)
    recipe: TextRecipe = field(default_factory=TextRecipe)
    shrinkage: dict[str, float] = field(default_factory=lambda: dict(SHRINKAGE))
    lessons: Lessons | None = None

    def rounds(self, rows: int) -> int:
        """How often `progress` is called while training on so many rows."""
        rows += len(self.lessons.windows) if self.lessons else 0
        inside = rows - rows // self.folds
        return self.members * self.network.epochs(rows) + self.folds * self.network.epochs(inside)

    def train(self, outcomes: Outcomes, _prices: Sequence[Price], progress: Progress = lambda: None) -> "Trained":
        """Trains a router; see `train`."""
        return train(outcomes, self, progress)


@dataclass(frozen=True)
class Trained:
    """A trained router.

    Attributes:
        vocabulary: of the tokenizer.
        plan: numbers of the graph.
        reference: arrays for novelty.
        prior: [C] mean quality.
        mean_tokens: [C] mean answer length; 0 where the data has none.
        metrics: cross-validated figures by name.
        windows: [N] the texts it was trained on, normalised.
        unseen: what cross-validation expected of them.
    """

    vocabulary: Vocabulary
    plan: graph.Plan
    reference: dict[str, Floats]
    prior: Floats
    mean_tokens: Floats
    metrics: dict[str, float]
    windows: tuple[str, ...]
    unseen: Unseen
    family: ClassVar[Family] = "static"
    about: ClassVar[str] = ""
    pad_id: ClassVar[int] = 0
    parity: ClassVar[float] = 1e-4
    golden_tolerance: ClassVar[float] = 1e-3

    def files(self) -> dict[str, bytes]:
        """The model and its tokenizer."""
        return {MODEL: graph.build(self.plan), TOKENIZER: self.vocabulary.tokenizer.to_str().encode()}

    def scores(self, windows: Sequence[str], max_tokens: int) -> tuple[Floats, Floats, Floats]:
        """Quality before shrinkage, embedding and output tokens, as training computes them."""
        entries = [encoding.ids[:max_tokens] for encoding in self.vocabulary.tokenizer.encode_batch_fast(list(windows))]
        rows = np.repeat(np.arange(len(entries)), [len(ids) for ids in entries])
        columns = np.fromiter((entry for ids in entries for entry in ids), np.int64)
        shape = (len(entries), len(self.vocabulary))
        return self.plan.run(sp.csr_matrix((np.ones(len(columns), np.float32), (rows, columns)), shape))


def train(outcomes: Outcomes, options: Options, progress: Progress = lambda: None) -> Trained:
    """Trains, calibrates and measures a router.

    Args:
        outcomes: to learn from.
        options: how.
        progress: called options.rounds(len(outcomes)) times; from several threads.

    Raises:
        DataError: a candidate has too few labels, or there are too few prompts.
    """
    targets, lengths = targets_of(outcomes)
    windows = windows_of(options.recipe, outcomes.prompts)
    vectors = read_wordvectors()
    vocabulary = derive(windows, vectors.words, vectors.parts)
    counts = vocabulary.count(windows, options.max_tokens)
    known = vectors.of(vocabulary.pieces)
    known[:2] = 0.0  # padding and unknown mean nothing
    features = fit_features(counts, known, options.dimensions)
    folds = group_folds(outcomes.groups, options.folds, options.seed)
    material = _Material(counts, targets, folds)
    if options.lessons is not None:
        material = _taught(
            material, options.lessons, vocabulary.count(options.lessons.windows, options.max_tokens), lengths.longest
        )
    members, logits = _networks(features, material, options, progress)
    logits, length_logits = (
        logits[: len(outcomes), : len(outcomes.candidates)],
        logits[: len(outcomes), len(outcomes.candidates) :],
    )
    slope, intercept = fit_platt(logits, outcomes.quality)
    network = _finished(stack(members), slope, intercept, lengths.mean == 0.0)
    numbers = graph.plan(vocabulary.parts, features, network, lengths.longest)
    distances = held_out_distances(counts, features, folds)
    # The embedding is measured as it will be served, quantised.
    calibrated = sigmoid(logits * slope + intercept)
    unseen = Unseen(calibrated, sigmoid(length_logits) * lengths.longest)
    trained = Trained(vocabulary, numbers, {}, known_means(outcomes.quality), lengths.mean, {}, windows, unseen)
    reference = fit_reference(trained.scores(windows, options.max_tokens)[1], distances)
    metrics = {
        "cross_validated_ece": calibration_error(calibrated, outcomes.quality),
        "cross_validated_ece_uncalibrated": calibration_error(sigmoid(logits), outcomes.quality),
        "cross_validated_brier": float(np.nanmean((calibrated - outcomes.quality) ** 2)),
    }
    return replace(trained, reference=reference, metrics=metrics)


class _Material(NamedTuple):
    """What networks are trained on: counted windows, their targets, and the fold that must not see them (-1: none)."""

    counts: sp.csr_matrix
    targets: Targets
    folds: NDArray[np.int64]


def _taught(material: _Material, lessons: Lessons, counts: sp.csr_matrix, longest: Floats) -> _Material:
    """The material with a teacher's word; what is novel, and how quality is calibrated, is none of its business."""
    further = lessons.further(longest, len(material.targets.labels))
    return _Material(
        sp.vstack([material.counts, counts]).tocsr(),
        lessons.mixed(material.targets, longest).joined(further),
        np.concatenate([material.folds, np.full(len(lessons.windows), -1)]),
    )


def _networks(
    features: Features, material: _Material, options: Options, progress: Progress
) -> tuple[list[Network], Floats]:
    """The members trained on everything, and [N, 2C] logits of networks that had not seen the prompt."""
    counts, targets, folds = material
    scaled = features.scaled(counts)
    used = np.r_[: min(options.network.directions, features.meaning), features.meaning : features.columns.shape[1]]
    columns = features.columns[:, used]
    everything = np.arange(len(folds))
    parts = [everything] * options.members + [np.flatnonzero(folds != fold) for fold in range(options.folds)]

    def one(number: int) -> Network:
        rows = parts[number]
        seed = options.seed * 1000 + number
        return train_network(scaled[rows], columns, targets.take(rows), options.network, seed, progress)

    # BLAS threads would only fight with ours for the cores.
    with threadpool_limits(1), ThreadPoolExecutor(options.workers) as pool:
        networks = list(pool.map(one, range(len(parts))))
    logits = np.zeros((len(folds), 2 * targets.quality.shape[1]), np.float32)
    for fold, network in enumerate(networks[options.members :]):
        rows = np.flatnonzero(folds == fold)
        logits[rows] = network.logits(scaled[rows])
    return networks[: options.members], logits


def _finished(network: Network, slope: Floats, intercept: Floats, unknown_lengths: NDArray[np.bool_]) -> Network:
    """The network with calibrated quality, and a constant length where nothing is known of it."""
    slopes = np.concatenate([slope, np.where(unknown_lengths, 0.0, 1.0)]).astype(np.float32)
    intercepts = np.concatenate([intercept, np.zeros_like(intercept)])
    return Network(network.table, network.bias, network.head * slopes, network.head_bias * slopes + intercepts)

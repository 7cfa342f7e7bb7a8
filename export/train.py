"""From outcomes to a router's numbers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from export import graph
from export.calibration import calibration_error, fit_platt
from export.errors import DataError
from export.features import Features, fit_features
from export.folds import group_folds
from export.network import Network, Progress, Settings, Targets, sigmoid, stack, train_network
from export.outcomes import MIN_LABELS, Outcomes
from export.reference import fit_reference, held_out_distances
from export.vocabulary import Vocabulary, derive
from export.windows import windows_of
from export.wordvectors import read_wordvectors
from sidecar.scoring.recipe import TextRecipe
from sidecar.types import Floats

# What an answer is taken to be long where no candidate's lengths are known.
DEFAULT_OUTPUT_TOKENS = 300.0
# Of sidecar.routing.novelty. Chosen on routing_train alone: leaving out one segment at a time, it is .5 points under the best
# single candidate (1.3 without shrinkage), and cross-validated it costs .3 points of quality on known segments. What
# novelty does not see, the floor does: a small difference between candidates seldom holds on a new kind of prompt.
SHRINKAGE = {"start": 0.0, "strength": 1.0, "power": 2.0, "floor": 0.4, "common": 0.0}
# Longer answers than all but one in a thousand are run-away ones.
LONGEST_QUANTILE = 0.999


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

    def rounds(self, rows: int) -> int:
        """How often `progress` is called while training on so many rows."""
        inside = rows - rows // self.folds
        return self.members * self.network.epochs(rows) + self.folds * self.network.epochs(inside)


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
    """

    vocabulary: Vocabulary
    plan: graph.Plan
    reference: dict[str, Floats]
    prior: Floats
    mean_tokens: Floats
    metrics: dict[str, float]
    windows: tuple[str, ...]

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
    _enough(outcomes)
    windows = windows_of(options.recipe, outcomes.prompts)
    vectors = read_wordvectors()
    vocabulary = derive(windows, vectors.words, vectors.parts)
    counts = vocabulary.count(windows, options.max_tokens)
    known = vectors.of(vocabulary.pieces)
    known[:2] = 0.0  # padding and unknown mean nothing
    features = fit_features(counts, known, options.dimensions)
    longest, mean_tokens = _lengths(outcomes.output_tokens)
    targets = Targets(
        outcomes.quality,
        np.minimum(outcomes.output_tokens / longest, 1.0).astype(np.float32),
        tuple(_numbered(names) for names in (outcomes.segments, outcomes.sources) if len(set(names)) > 1),
    )
    folds = group_folds(outcomes.groups, options.folds, options.seed)
    members, logits = _networks(features, counts, targets, folds, options, progress)
    slope, intercept = fit_platt(logits, outcomes.quality)
    network = _finished(stack(members), slope, intercept, mean_tokens == 0.0)
    numbers = graph.plan(vocabulary.parts, features, network, longest)
    distances = held_out_distances(counts, features, folds)
    # The embedding is measured as it will be served, quantised.
    trained = Trained(vocabulary, numbers, {}, _means(outcomes.quality), mean_tokens, {}, windows)
    reference = fit_reference(trained.scores(windows, options.max_tokens)[1], distances)
    calibrated = sigmoid(logits * slope + intercept)
    metrics = {
        "cross_validated_ece": calibration_error(calibrated, outcomes.quality),
        "cross_validated_ece_uncalibrated": calibration_error(sigmoid(logits), outcomes.quality),
        "cross_validated_brier": float(np.nanmean((calibrated - outcomes.quality) ** 2)),
    }
    return Trained(vocabulary, numbers, reference, trained.prior, mean_tokens, metrics, windows)


def _networks(
    features: Features,
    counts: sp.csr_matrix,
    targets: Targets,
    folds: NDArray[np.int64],
    options: Options,
    progress: Progress,
) -> tuple[list[Network], Floats]:
    """The members trained on everything, and [N, C] logits of networks that had not seen the prompt."""
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
    logits = np.zeros_like(targets.quality)
    for fold, network in enumerate(networks[options.members :]):
        rows = np.flatnonzero(folds == fold)
        logits[rows] = network.logits(scaled[rows])[:, : logits.shape[1]]
    return networks[: options.members], logits


def _finished(network: Network, slope: Floats, intercept: Floats, unknown_lengths: NDArray[np.bool_]) -> Network:
    """The network with calibrated quality, and a constant length where nothing is known of it."""
    slopes = np.concatenate([slope, np.where(unknown_lengths, 0.0, 1.0)]).astype(np.float32)
    intercepts = np.concatenate([intercept, np.zeros_like(intercept)])
    return Network(network.table, network.bias, network.head * slopes, network.head_bias * slopes + intercepts)


def _lengths(tokens: Floats) -> tuple[Floats, Floats]:
    """[C] tokens of the longest answers, and [C] mean answer length (0 where unknown)."""
    means = _means(tokens)
    known = ~np.isnan(means)
    usual = float(means[known].mean()) if known.any() else DEFAULT_OUTPUT_TOKENS
    # A length without data stays at a half, so its longest is twice the usual length.
    longest = np.full(tokens.shape[1], 2.0 * usual, np.float32)
    for c in np.flatnonzero(known):
        longest[c] = max(float(np.nanquantile(tokens[:, c], LONGEST_QUANTILE)), 1.0)
    return longest, np.where(known, means, 0.0).astype(np.float32)


def _means(values: Floats) -> Floats:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = (np.where(known, values, 0.0).sum(axis=0, dtype=np.float64) / known.sum(axis=0)).astype(
            np.float32
        )
    return means


def _numbered(names: NDArray[np.str_]) -> NDArray[np.int64]:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _enough(outcomes: Outcomes) -> None:
    labels = (~np.isnan(outcomes.quality)).sum(axis=0)
    for name, count in zip(outcomes.candidates, labels, strict=True):
        if count < MIN_LABELS:
            raise DataError(
                f"column `q:{name}` has {count} labels; at least {MIN_LABELS} are needed. Leave this candidate out with "
                "--candidates, or collect more."
            )

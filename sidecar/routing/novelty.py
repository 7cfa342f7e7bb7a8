"""How unlike the training data a prompt is, and how far that shrinks what the model says of it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sidecar.bundle.manifest import MANIFEST, REFERENCE, NoveltyRule
from sidecar.errors import BundleError
from sidecar.types import Floats

MAHALANOBIS = "mahalanobis"
# In arrays, since numpy would make one of a number in every call.
_NOTHING, _ALL = np.zeros(1, np.float32), np.ones(1, np.float32)
DEFAULT_SHRINKAGE = {"start": 0.5, "strength": 1.0, "power": 1.0, "floor": 0.0, "common": 1.0}


class Novelty:
    """Novelty as 1 - p-value, and the shrinkage that follows from it. Immutable, so safe to share between threads.

    The measure is the Mahalanobis distance of a prompt's embedding from the training data, and its p-value the
    conformal one (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005, section 2.2): the rank of the
    distance among those of prompts which the measure was not fitted on. So novelty is about uniform on [0, 1] for
    prompts like the training data.

    Novel prompts' quality moves toward the candidates' priors. With `common` below 1, that part of it moves less which
    all candidates have in common, how hard the prompt is: it carries over to new kinds of prompts, while the order of
    the candidates does not (measured by leaving segments out of the training data), and keeping it keeps quality
    calibrated.

    Args:
        rule: kind of the measure and parameters of the shrinkage: the share of the distance that goes is
            `floor + (strength - floor) * clip((novelty - start) / (1 - start), 0, 1) ** power`, and `common`: how much
            of what the candidates have in common goes with it.
        arrays: of reference.npz: `mean` [D], `whitening` [D, R] with R <= D, `null` [K] distances of held-out prompts.
        prior: [C] what is believed of each candidate where nothing is known of the prompt.

    Raises:
        BundleError: the kind or a parameter is unknown or out of range, or an array is missing, ill-shaped or not
            finite.
    """

    def __init__(self, rule: NoveltyRule, arrays: Mapping[str, NDArray[np.float32]], prior: Floats) -> None:
        if rule.kind != MAHALANOBIS:
            raise BundleError(f"{MANIFEST}: novelty.kind {rule.kind!r} is unknown; this sidecar knows {MAHALANOBIS!r}.")
        self._start, self._strength, self._power, self._floor, common = _checked_shrinkage(rule.shrinkage)
        self._scale = np.float32(1.0 / (1.0 - self._start))
        mean = _array(arrays, "mean", 1)
        self._whitening = np.ascontiguousarray(_array(arrays, "whitening", 2))
        if self._whitening.shape[0] != mean.shape[0] or self._whitening.shape[1] > mean.shape[0]:
            raise BundleError(
                f"{REFERENCE}: `whitening` has shape {self._whitening.shape}, which does not fit `mean` of "
                f"{mean.shape}; export the bundle again."
            )
        self._offset = np.dot(mean, self._whitening)
        self._null = np.sort(_array(arrays, "null", 1))
        ranks = np.arange(len(self._null) + 1)
        self._levels = (ranks / np.float32(len(ranks))).astype(np.float32)
        self._levels.flags.writeable = False  # given out in parts
        self._prior = prior.astype(np.float32)
        self._even = np.full(len(prior), (1.0 - common) / len(prior), np.float32)
        self._prior_mean = np.dot(self._prior, self._even).reshape(1)
        # There are only so many levels, so what each of them loses is worked out once: seven array operations less.
        self._lost = self._lost_at(self._levels)
        self._familiar = int((self._levels <= self._start).sum()) if self._floor == 0.0 else 0

    @property
    def dimensions(self) -> int:
        """Length of the embeddings that it measures."""
        return int(self._whitening.shape[0])

    def __call__(self, embedding: Floats) -> Floats:
        """Novelty of a batch.

        Args:
            embedding: [B, D].

        Returns:
            [B] in [0, 1).
        """
        novelty: Floats = self._levels[self._null.searchsorted(self.distance(embedding))]
        return novelty

    def distance(self, embedding: Floats) -> Floats:
        """[B] squared distance from the training data in units of its spread, for embeddings [B, D]."""
        # Methods and operations in place cost half of what functions, `@`, einsum and operators cost at B = 1.
        away = embedding.dot(self._whitening)
        away -= self._offset
        squared: Floats = np.add.reduce(np.multiply(away, away, out=away), axis=1)
        return squared

    def weigh(self, quality: Floats, embedding: Floats) -> tuple[Floats, Floats]:
        """Measures and shrinks in one go: the novelty, and what `shrink` makes of the quality with it.

        Args:
            quality: [B, C].
            embedding: [B, D].

        Returns:
            [B] and [B, C].
        """
        ranks = self._null.searchsorted(self.distance(embedding))
        # One row is looked up by a plain slice, in a fifth of the time.
        at = slice(rank := int(ranks[0]), rank + 1) if len(ranks) == 1 else ranks
        novelty = self._levels[at]
        if self._familiar and int(ranks.max()) < self._familiar:
            return novelty, quality
        return novelty, self._moved(quality, self._lost[at])

    def shrink(self, quality: Floats, novelty: Floats) -> Floats:
        """Quality moved toward the candidates' priors as far as novelty demands.

        Args:
            quality: [B, C].
            novelty: [B].

        Returns:
            [B, C] in [0, 1]; the given array if nothing shrinks.
        """
        if self._floor == 0.0 and novelty.max() <= self._start:
            return quality
        return self._moved(quality, self._lost_at(novelty))

    def _lost_at(self, novelty: Floats) -> Floats:
        """[B] the share of the distance from the prior that goes at each novelty [B]."""
        lost: Floats = np.maximum((novelty - np.float32(self._start)) * self._scale, np.float32(0.0))
        if self._power != 1.0:
            lost **= np.float32(self._power)
        lost *= np.float32(self._strength - self._floor)
        lost += np.float32(self._floor)
        return lost

    def _moved(self, quality: Floats, lost: Floats) -> Floats:
        """[B, C] quality moved by the share `lost` [B] of its distance from the prior."""
        easier: Floats = quality.dot(self._even)
        easier -= self._prior_mean
        moved: Floats = self._prior + easier[:, None]
        moved -= quality
        moved *= lost[:, None]
        moved += quality
        np.maximum(moved, _NOTHING, out=moved)
        return np.minimum(moved, _ALL, out=moved)


def _array(arrays: Mapping[str, NDArray[np.float32]], name: str, dimensions: int) -> Floats:
    if name not in arrays:
        raise BundleError(f"{REFERENCE}: the array `{name}` is missing; export the bundle again.")
    array = np.asarray(arrays[name])
    if array.ndim != dimensions or array.size == 0 or array.dtype.kind != "f":
        raise BundleError(
            f"{REFERENCE}: `{name}` is {array.dtype} of shape {array.shape}; it must be float and have {dimensions} "
            "dimension(s), none of them empty."
        )
    # After the cast: a large float64 becomes infinite only then.
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise BundleError(f"{REFERENCE}: `{name}` holds values that are not finite; export the bundle again.")
    return array


def _checked_shrinkage(given: Mapping[str, float]) -> tuple[float, float, float, float, float]:
    unknown = sorted(given.keys() - DEFAULT_SHRINKAGE.keys())
    if unknown:
        raise BundleError(
            f"{MANIFEST}: novelty.shrinkage.{unknown[0]} is unknown; known are {', '.join(DEFAULT_SHRINKAGE)}."
        )
    values = {**DEFAULT_SHRINKAGE, **given}
    shares = 0.0 <= values["floor"] <= values["strength"] <= 1.0 and 0.0 <= values["common"] <= 1.0
    if not (shares and 0.0 <= values["start"] < 1.0 and values["power"] > 0.0):
        raise BundleError(
            f"{MANIFEST}: novelty.shrinkage needs 0 <= start < 1, 0 <= floor <= strength <= 1, common in [0, 1] and power > 0; export the bundle again."
        )
    return values["start"], values["strength"], values["power"], values["floor"], values["common"]

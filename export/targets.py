"""What a router is to say of training prompts, and what is known of candidates without any prompt."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError
from export.network import Targets
from export.outcomes import MIN_LABELS, Outcomes
from sidecar.types import Floats

# What an answer is taken to be long where no candidate's lengths are known.
DEFAULT_OUTPUT_TOKENS = 300.0
# Longer answers than all but one in a thousand are run-away ones.
LONGEST_QUANTILE = 0.999


class Lengths(NamedTuple):
    """Answer lengths per candidate.

    Attributes:
        longest: [C] tokens of the longest answers; what a length of 1 is.
        mean: [C] tokens; 0 where unknown.
    """

    longest: Floats
    mean: Floats


def targets_of(outcomes: Outcomes) -> tuple[Targets, Lengths]:
    """The targets of all prompts.

    Raises:
        DataError: a candidate has too few labels.
    """
    _enough(outcomes)
    lengths = _lengths(outcomes.output_tokens)
    labels = tuple(_numbered(names) for names in (outcomes.segments, outcomes.sources) if len(set(names)) > 1)
    shares = np.minimum(outcomes.output_tokens / lengths.longest, 1.0).astype(np.float32)
    return Targets(outcomes.quality, shares, labels), lengths


def known_means(values: Floats) -> Floats:
    """[C] means of the known values of each column; NaN where none is known."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = (np.where(known, values, 0.0).sum(axis=0, dtype=np.float64) / known.sum(axis=0)).astype(
            np.float32
        )
    return means


def _lengths(tokens: Floats) -> Lengths:
    means = known_means(tokens)
    known = ~np.isnan(means)
    usual = float(means[known].mean()) if known.any() else DEFAULT_OUTPUT_TOKENS
    # A length without data stays at a half, so its longest is twice the usual length.
    longest = np.full(tokens.shape[1], 2.0 * usual, np.float32)
    for c in np.flatnonzero(known):
        longest[c] = max(float(np.nanquantile(tokens[:, c], LONGEST_QUANTILE)), 1.0)
    return Lengths(longest, np.where(known, means, 0.0).astype(np.float32))


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

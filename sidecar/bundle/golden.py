"""Golden vectors: a few texts with the scores that the router had when it was exported."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from sidecar.bundle.manifest import GOLDEN
from sidecar.errors import BundleError, RouterError
from sidecar.types import Score, Scores

MAX_VECTORS = 256

Unit = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class GoldenVector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One text and what it must score.

    Attributes:
        text: of a window, as the text recipe leaves it; our own words, never a data set's.
        quality: [C] as the scorer returns it, shrunk by novelty.
        novelty: of the text.
    """

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=65536)]
    quality: tuple[Unit, ...]
    novelty: Unit


_Vectors = Annotated[tuple[GoldenVector, ...], msgspec.Meta(min_length=1, max_length=MAX_VECTORS)]


def read(data: bytes, candidates: int, name: str = GOLDEN) -> tuple[GoldenVector, ...]:
    """Reads golden.json, or the golden vectors of another model.

    Args:
        data: bytes of the file.
        candidates: how many the manifest lists.
        name: of the file.

    Raises:
        BundleError: malformed (the message has the key's path), empty, or not one quality per candidate.
    """
    try:
        vectors = msgspec.json.decode(data, type=_Vectors)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{name}: {error}") from error
    for row, vector in enumerate(vectors):
        if len(vector.quality) != candidates:
            raise BundleError(
                f"{name}: has {len(vector.quality)} qualities where the manifest lists {candidates} candidates"
                f" - at `$[{row}].quality`"
            )
    return vectors


def write(vectors: Sequence[GoldenVector]) -> bytes:
    """The bytes of golden.json."""
    return msgspec.json.format(msgspec.json.encode(vectors), indent=1)


def record(scorer: Score, texts: Sequence[str]) -> tuple[GoldenVector, ...]:
    """Scores texts for a new bundle, one at a time."""
    vectors = []
    for text in texts:
        scores = scorer([text])
        vectors.append(GoldenVector(text, tuple(map(float, scores.quality[0])), float(scores.novelty[0])))
    return tuple(vectors)


def check(vectors: Sequence[GoldenVector], scorer: Score, tolerance: float, name: str = GOLDEN) -> None:
    """Scores every vector, alone and in one batch, since live traffic comes both ways.

    Args:
        vectors: of the bundle.
        scorer: that was loaded from it.
        tolerance: largest difference allowed in any quality or novelty.
        name: of the file that they come from.

    Raises:
        BundleError: a score differs, is outside [0, 1], or the scorer fails.
    """
    texts = [vector.text for vector in vectors]
    try:
        together = scorer(texts)
        alone = [scorer([text]) for text in texts]
    except RouterError as error:
        raise BundleError(f"{name}: its texts cannot be scored: {error}") from error
    for row, vector in enumerate(vectors):
        _compare(vector, together, row, tolerance, name, f"$[{row}] in a batch")
        _compare(vector, alone[row], 0, tolerance, name, f"$[{row}] alone")


def _compare(vector: GoldenVector, scores: Scores, row: int, tolerance: float, name: str, where: str) -> None:
    got = np.append(scores.quality[row], scores.novelty[row]).astype(np.float64)
    tokens = scores.output_tokens[row]
    if not ((got >= 0.0) & (got <= 1.0)).all():  # written so that NaN fails
        raise BundleError(f"{name}: a score is outside [0, 1] - at `{where}`")
    if not ((tokens >= 0.0) & np.isfinite(tokens)).all():
        raise BundleError(f"{name}: expected output tokens are negative or not finite - at `{where}`")
    worst = float(np.abs(got - np.array([*vector.quality, vector.novelty])).max())
    if not worst <= tolerance:
        raise BundleError(f"{name}: a score differs by {worst:.3g}, over the tolerance {tolerance} - at `{where}`")

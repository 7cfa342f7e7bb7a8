"""Scoring recorded prompts the way the sidecar does."""

from collections.abc import Sequence

import numpy as np

from export.choices import Forecast
from export.windows import windows_of
from sidecar.bundle.load import Bundle
from sidecar.bundle.manifest import MODEL, TOKENIZER
from sidecar.scoring.session import Session
from sidecar.scoring.tokenizer import Tokenizer
from sidecar.types import Floats

BATCH = 32


def unshrunk_of(bundle: Bundle, windows: Sequence[str]) -> tuple[Floats, Floats]:
    """Quality before shrinkage and output tokens of windows, shortest first: padding costs as much as text."""
    candidates = len(bundle.manifest.candidates)
    session = Session(bundle.directory / MODEL, candidates=candidates)
    quality, tokens = np.zeros((2, len(windows), candidates), np.float32)
    order = np.argsort([len(window) for window in windows], kind="stable")
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        quality[rows], _, tokens[rows] = session(*bundle.tokenizer([windows[row] for row in rows]))
    return quality, tokens


def forecast_of(bundle: Bundle, prompts: Sequence[str]) -> Forecast:
    """Text recipe, tokenizer, model and shrinkage of a loaded bundle, in batches as served."""
    manifest = bundle.manifest
    windows = windows_of(manifest.text_recipe, prompts)
    limits = manifest.tokenizer
    tokenizer = Tokenizer(
        (bundle.directory / TOKENIZER).read_bytes(), max_tokens=limits.max_tokens, pad_id=limits.pad_id
    )
    session = Session(bundle.directory / MODEL, candidates=len(manifest.candidates))
    parts = []
    for at in range(0, len(windows), BATCH):
        batch = windows[at : at + BATCH]
        scores = bundle.scorer(batch)
        # The scorer keeps these to itself; comparisons need them.
        unshrunk, embedding, _ = session(*tokenizer(batch))
        parts.append((scores.quality, unshrunk, scores.output_tokens, embedding, scores.novelty))
    return Forecast(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

"""Scoring recorded prompts the way the sidecar does."""

from collections.abc import Sequence

import numpy as np

from export.choices import Forecast
from export.windows import windows_of
from sidecar.bundle.load import Bundle
from sidecar.bundle.manifest import MODEL, TOKENIZER
from sidecar.scoring.session import Session
from sidecar.scoring.tokenizer import Tokenizer

BATCH = 32


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

"""From a trained router to a sealed bundle that loads."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import numpy as np

from export.card import GOLDEN_TEXTS, model_card
from export.errors import DataError
from export.outcomes import Outcomes
from export.prices import Price
from export.reference import write_arrays
from export.router import Router, Training
from export.windows import windows_of
from sidecar.bundle import golden
from sidecar.bundle.load import load
from sidecar.bundle.manifest import (
    FORMAT_VERSION,
    GOLDEN_OF,
    MODEL,
    REFERENCE,
    TOKENIZER,
    Manifest,
    NoveltyRule,
    TokenizerLimits,
    TrainedCandidate,
    TrainingData,
)
from sidecar.bundle.seal import seal
from sidecar.routing.novelty import MAHALANOBIS
from sidecar.scoring.session import Session
from sidecar.scoring.tokenizer import Tokenizer

PARITY_WINDOWS = 256


@dataclass(frozen=True)
class Label:
    """What a bundle says of itself.

    Attributes:
        name: of the router.
        version: of the router.
        source: what it was trained on, in words.
        licence: of that data.
        limits: what a user must know before trusting it; joins the model card.
    """

    name: str
    version: str
    source: str
    licence: str
    limits: str


def write_bundle(
    directory: Path, trained: Router, outcomes: Outcomes, prices: Sequence[Price], options: Training, label: Label
) -> Manifest:
    """Writes, tries out and seals a bundle; the directory appears at once and whole, or not at all.

    Args:
        directory: must not exist, or be empty.
        trained: the router.
        outcomes: that it was trained on.
        prices: of the candidates.
        options: that it was trained with.
        label: what the bundle says of itself.

    Raises:
        DataError: the directory is in use, or exported scores differ from those of training.
        BundleError: the bundle does not load.
    """
    check_free(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(dir=directory.parent, prefix=".draft-"))
    try:
        draft.chmod(0o755)
        manifest = _write(draft, trained, outcomes, prices, options, label)
        draft.replace(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def check_free(directory: Path) -> None:
    """Raises DataError if a bundle cannot be written to the directory."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(f"--out: {directory} exists and is not empty; name another directory or remove it.")


def _write(
    draft: Path, trained: Router, outcomes: Outcomes, prices: Sequence[Price], options: Training, label: Label
) -> Manifest:
    models = trained.files()
    for name, content in models.items():
        (draft / name).write_bytes(content)
    (draft / REFERENCE).write_bytes(write_arrays(trained.reference))
    goldens = {model: golden_name for model, golden_name in GOLDEN_OF.items() if model in models}
    for name in goldens.values():
        (draft / name).write_bytes(golden.write(()))
    parity = _parity(draft, trained, options)
    manifest = _manifest(trained, outcomes, prices, options, label, parity)
    seal(draft, manifest)
    texts = windows_of(options.recipe, GOLDEN_TEXTS)
    scorers = {name: load(draft, model=model, golden=False).scorer for model, name in goldens.items()}
    for name, scorer in scorers.items():
        (draft / name).write_bytes(golden.write(golden.record(scorer, texts)))
    sealed = seal(draft, manifest)
    for model in goldens:
        load(draft, model=model)
    return sealed


def _parity(draft: Path, trained: Router, options: Training) -> float:
    """Largest difference between the scores of training and those of the exported files."""
    tokenizer = Tokenizer((draft / TOKENIZER).read_bytes(), max_tokens=options.max_tokens, pad_id=trained.pad_id)
    session = Session(draft / MODEL, candidates=len(trained.prior))
    step = max(1, len(trained.windows) // PARITY_WINDOWS)
    windows = trained.windows[::step]
    expected = trained.scores(windows, options.max_tokens)[0]
    got = np.concatenate([session(*tokenizer(windows[at : at + 32]))[0] for at in range(0, len(windows), 32)])
    worst = float(np.abs(got - expected).max())
    if not worst <= trained.parity:
        raise DataError(
            f"exported scores differ from those of training by {worst:.2g}; at most {trained.parity} is allowed."
        )
    return worst


def _manifest(
    trained: Router, outcomes: Outcomes, prices: Sequence[Price], options: Training, label: Label, parity: float
) -> Manifest:
    names, sizes = np.unique(outcomes.segments, return_counts=True)
    data = TrainingData(
        source=label.source,
        licence=label.licence,
        rows=len(outcomes),
        segments={str(name): int(size) for name, size in zip(names, sizes, strict=True)},
        sha256=outcomes.sha256,
    )
    values = {
        "format_version": FORMAT_VERSION,
        "name": label.name,
        "version": label.version,
        "family": trained.family,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "candidates": [
            TrainedCandidate(
                name=name,
                prior_quality=float(trained.prior[c]),
                mean_output_tokens=float(trained.mean_tokens[c]),
                input_usd_per_mtok=prices[c].input_per_mtok,
                output_usd_per_mtok=prices[c].output_per_mtok,
            )
            for c, name in enumerate(outcomes.candidates)
        ],
        "tokenizer": TokenizerLimits(max_tokens=options.max_tokens, pad_id=trained.pad_id),
        "text_recipe": options.recipe,
        "training_data": data,
        "metrics": {**trained.metrics, "export_parity": parity},
        "novelty": NoveltyRule(kind=MAHALANOBIS, shrinkage=options.shrinkage),
        "model_card": model_card(label, data, outcomes, trained, options),
        "golden_tolerance": trained.golden_tolerance,
    }
    try:
        return msgspec.convert(values, Manifest, from_attributes=True)
    except msgspec.ValidationError as error:
        raise DataError(
            f"the manifest cannot be written: {error}; names may hold letters, digits and ._:/- only."
        ) from None

"""The families of routers, by name: what the command line asks for becomes a way to train."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from export.errors import DataError
from export.router import Family, Training
from export.train import Options
from sidecar.scoring.recipe import TextRecipe

FAMILIES: tuple[Family, ...] = ("static", "encoder")
_THREADS = 2
# Of other families these say nothing.
_ENCODER_ONLY = {
    "base": "--base",
    "max_tokens": "--max-tokens",
    "keep_fp32": "--keep-fp32",
    "tune_layers": "--tune-layers",
    "tune_epochs": "--tune-epochs",
    "tune_rate": "--tune-rate",
}
_STATIC_ONLY = {"distill_from": "--distill-from", "unlabelled": "--unlabelled", "teacher_scores": "--teacher-scores"}


def training_of(family: str, seed: int, given: Mapping[str, Any]) -> Training:
    """How to train.

    Args:
        family: of the router.
        seed: of everything random.
        given: options of the command line; what is missing or empty has its default.

    Raises:
        DataError: an option belongs to another family, or packages are missing.
    """
    for key, option in (_ENCODER_ONLY if family == "static" else _STATIC_ONLY).items():
        if given.get(key):
            raise DataError(f"{option}: has no meaning with --family {family}; leave it out.")
    training = _static(seed) if family == "static" else _encoder(seed, given)
    changes: dict[str, Any] = {}
    if given.get("shrink_floor") is not None:
        changes["shrinkage"] = {**training.shrinkage, "floor": given["shrink_floor"]}
    if given.get("folds"):
        changes["folds"] = given["folds"]
    if given.get("max_chars"):
        changes["recipe"] = msgspec.structs.replace(TextRecipe(), max_chars=given["max_chars"])
    changed: Training = replace(training, **changes)  # type: ignore[type-var]  # both are dataclasses
    return changed


def _static(seed: int) -> Training:
    return Options(seed=seed, workers=min(_THREADS, os.cpu_count() or 1))


def _encoder(seed: int, given: Mapping[str, Any]) -> Training:
    try:
        # Seconds to import, in an extra of its own.
        from export.encoder.train import EncoderOptions  # noqa: PLC0415
        from export.encoder.tuning import TuneSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DataError(
            f"--family encoder: the package {error.name} is missing; install router-sidecar[train,encoder]."
        ) from None
    names = ("base", "max_tokens", "keep_fp32", "measure", "members")
    chosen = {name: given[name] for name in names if given.get(name) is not None}
    tune = {name: given[f"tune_{name}"] for name in ("layers", "epochs", "rate") if given.get(f"tune_{name}")}
    if tune and "layers" not in tune:
        raise DataError("--tune-epochs and --tune-rate: say how many layers with --tune-layers.")
    threads = min(_THREADS, os.cpu_count() or 1)
    return EncoderOptions(seed=seed, threads=threads, tuning=TuneSettings(**tune), **chosen)

"""A bundle that teaches a smaller router: its expectations beside the labels, and on prompts without any label."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import DataError
from export.lessons import Lessons
from export.outcomes import Outcomes, read_prompts
from export.router import Training
from export.serve import unshrunk_of
from export.train import Options
from export.unseen import Unseen, read_unseen
from export.windows import windows_of
from sidecar.bundle.load import Bundle, load
from sidecar.scoring.recipe import TextRecipe

# Cross-validated on routing_train, width helps even without a teacher (Brier .2098 against .2108 at 64).
HIDDEN = 128


def taught(training: Training, outcomes: Outcomes, given: Mapping[str, Any]) -> Options:
    """The training with a teacher.

    Args:
        training: of the static family.
        outcomes: labelled.
        given: options of the command line: distill_from, teacher_scores, unlabelled.

    Raises:
        DataError: there is no teacher, it knows other candidates, or it was trained on these outcomes and nothing tells
            what it expected of them before.
        BundleError: the teacher does not load.
    """
    if not isinstance(training, Options) or given["distill_from"] is None:
        raise DataError("--unlabelled and --teacher-scores: name the teacher with --distill-from.")
    teacher = load(given["distill_from"])
    names = tuple(candidate.name for candidate in teacher.manifest.candidates)
    if set(names) != set(outcomes.candidates):
        raise DataError(
            f"--distill-from: the teacher knows {', '.join(names)}, the data {', '.join(outcomes.candidates)}; teach with a"
            " bundle of the same candidates, or choose them with --candidates."
        )
    order = [names.index(name) for name in outcomes.candidates]
    known = _known(teacher, outcomes, given["teacher_scores"], order)
    prompts = _strangers(given["unlabelled"], outcomes)
    further = _asked(teacher, prompts, order)
    windows = windows_of(training.recipe, prompts)
    network = replace(training.network, hidden=max(training.network.hidden, HIDDEN))
    return replace(training, lessons=Lessons(*known, windows, *further), network=network)


def _known(teacher: Bundle, outcomes: Outcomes, scores: Path | None, order: Sequence[int]) -> Unseen:
    if scores is not None:
        return read_unseen(scores, outcomes)
    if teacher.manifest.training_data.sha256 == outcomes.sha256:
        raise DataError(
            "--distill-from: the teacher was trained on these very labels, so its word on them is half memory; name what it"
            " expected of them before with --teacher-scores (train it with --out-of-fold)."
        )
    return _asked(teacher, outcomes.prompts, order)


def _asked(teacher: Bundle, prompts: Sequence[str], order: Sequence[int]) -> Unseen:
    if not prompts:
        nothing = np.zeros((0, len(order)), np.float32)
        return Unseen(nothing, nothing)
    quality, tokens = unshrunk_of(teacher, windows_of(teacher.manifest.text_recipe, prompts))
    return Unseen(quality[:, order], tokens[:, order])


def _strangers(paths: Sequence[Path], outcomes: Outcomes) -> tuple[str, ...]:
    """Prompts of files, each once, without those that nearly are one of the outcomes'."""
    recipe = TextRecipe()
    seen = set(windows_of(recipe, outcomes.prompts))
    groups = set(outcomes.groups.tolist())
    chosen: dict[str, str] = {}
    for path in paths:
        prompts, members = read_prompts(path)
        for prompt, window, group in zip(prompts, windows_of(recipe, prompts), members.tolist(), strict=True):
            if window not in seen and group not in groups:
                chosen.setdefault(window, prompt)
    return tuple(chosen.values())

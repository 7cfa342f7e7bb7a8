"""Fits whose encoder is tuned too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.calibration import fit_platt
from export.encoder.fits import Fit, Task, logits_of
from export.encoder.heads import Heads, Loss
from export.encoder.states import read_states
from export.encoder.tokens import BATCH, Rows, TokenRows
from export.encoder.tuning import Material, TuneSettings, tune
from export.encoder.upper import Upper
from export.encoder.vectors import Vectors
from export.network import sigmoid
from sidecar.types import Floats


class TunedFits:
    """Heads, and then they and the encoder's last layers together.

    How many epochs are good is seen in the first fit, by the Brier score of its unseen prompts; the others take as many. If
    none is, the encoder stays as it was.

    Args:
        task: what is learnt.
        settings: of tuning.
        quality: [N, C] labels of the training prompts; NaN where unknown.
        rows: their tokens.
        path: of a file for token vectors; two bytes times the tokens times the width.

    Raises:
        DataError: the encoder cannot be tuned.
    """

    def __init__(self, task: Task, settings: TuneSettings, quality: Floats, rows: TokenRows, path: Path) -> None:
        self._task, self._settings, self._quality = task, settings, quality
        pooling = task.vectors.pooling
        self._upper = Upper(pooling, settings.layers, settings.dropout)
        self._values, self._states = read_states(pooling, rows, pooling.layers - settings.layers, path, task.progress)
        self._upper.check(self._values, self._states)
        self._loss = Loss(task.targets, task.heads)
        self._scores: list[float] = []
        self._epochs = settings.epochs

    @property
    def about(self) -> str:
        """What was done with the encoder, in words."""
        layers = f"its last {self._settings.layers} layers"
        if not self._epochs:
            return f"not changed by training, since tuning {layers} made the held-out Brier score no better"
        return f"{layers} tuned for {self._epochs} epochs"

    @property
    def metrics(self) -> dict[str, float]:
        """Held-out Brier scores before and after, and how it came to them."""
        return {
            "tuned_layers": float(self._settings.layers if self._epochs else 0),
            "tuned_epochs": float(self._epochs),
            "held_out_brier_before_tuning": self._scores[0],
            "held_out_brier_after_tuning": min(self._scores),
        }

    def fit(self, rows: Rows, number: int, unseen: Rows | None = None) -> Fit:
        """Trains heads on some rows, then tunes; the first call must name unseen rows."""
        fit = self._task.fitted(self._values, rows, number)
        material = Material(self._values, self._states, fit.scaled, self._loss, rows)
        given = (self._upper, fit.heads, material, self._settings, self._task.seed_of(number))
        judged = unseen if not self._scores else None
        if judged is None:
            tuned = tune(*given, self._epochs, progress=self._task.progress)
        else:
            tuned = tune(
                *given, self._epochs, lambda upper, heads: self._brier(upper, heads, fit, judged), self._task.progress
            )
            self._scores, self._epochs = tuned.scores, tuned.epochs
        if not tuned.epochs:
            return fit
        vectors = Vectors(tuned.upper.inside(self._task.vectors.base))
        return Fit(
            vectors, tuned.heads, fit.scaled, lambda some: tuned.upper.of(self._values, self._states, some, BATCH)
        )

    def _brier(self, upper: Upper, heads: Sequence[Heads], fit: Fit, unseen: Rows) -> float:
        """Of quality, calibrated."""
        count = self._quality.shape[1]
        logits = logits_of(heads, fit.scaled, upper.of(self._values, self._states, unseen, BATCH))[:, :count]
        slope, intercept = fit_platt(logits, self._quality[unseen])
        return float(np.nanmean((sigmoid(logits * slope + intercept) - self._quality[unseen]) ** 2))

"""What lower precision costs: a router in three precisions on prompts that it never saw."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from export.choices import Forecast, Ground, Matrix, ground
from export.curve import Curve, trace
from export.encoder.module import Router
from export.encoder.onnx_files import model_files
from export.encoder.tokens import TokenRows
from export.errors import DataError
from export.outcomes import Outcomes
from export.prices import Price
from export.reference import distances_from
from export.targets import known_means
from sidecar.bundle.manifest import MODEL, MODEL_FP16, MODEL_FP32
from sidecar.scoring.session import Session
from sidecar.types import Floats

# Points of quality (hundredths) at equal cost.
MOST_LOST_POINTS = 0.3
_COSTS = 50


class Held(NamedTuple):
    """A router, and what it never saw.

    Attributes:
        router: trained without these outcomes.
        outcomes: to judge it on.
        prices: of the candidates.
        rows: tokens of the outcomes' prompts.
        seen: pooled vectors of the prompts that it was trained on.
    """

    router: Router
    outcomes: Outcomes
    prices: Sequence[Price]
    rows: TokenRows
    seen: Floats


def losses(held: Held) -> tuple[dict[str, float], Floats]:
    """Figures for the manifest, and [N] distances of the held-out prompts from those seen, as int8 serves them.

    Raises:
        DataError: a lower precision loses more than 0.3 points of quality at equal cost.
    """
    models = model_files(held.router)
    usual = np.nan_to_num(known_means(held.outcomes.output_tokens))
    basis = ground(held.outcomes, held.prices, usual)
    forecasts = {name: _forecast(models[name], held) for name in (MODEL_FP32, MODEL, MODEL_FP16)}
    full = forecasts[MODEL_FP32]
    curve = trace(basis, full)
    figures: dict[str, float] = {}
    for name, short in ((MODEL, "int8"), (MODEL_FP16, "fp16")):
        lost = points_lost(basis, curve, forecasts[name])
        if lost > MOST_LOST_POINTS:
            raise DataError(
                f"{name} loses {lost:.2f} points of quality at equal cost; at most {MOST_LOST_POINTS} are allowed. This"
                " base does not bear lower precision; choose another."
            )
        figures[f"{short}_quality_loss_points"] = lost
        figures[f"{short}_largest_difference"] = float(np.abs(forecasts[name].quality - full.quality).max())
        figures[f"{short}_mean_difference"] = float(np.abs(forecasts[name].quality - full.quality).mean())
    direction = held.router.direction.numpy()
    return figures, distances_from(held.seen @ direction, forecasts[MODEL].embedding)


def points_lost(basis: Ground, full: Curve, lower: Forecast) -> float:
    """Points of quality (hundredths) that a forecast is under a curve, as a mean over costs."""
    other = trace(basis, lower)
    costs = np.linspace(
        max(full.cost_usd.min(), other.cost_usd.min()), min(full.cost_usd.max(), other.cost_usd.max()), _COSTS
    )
    return float(100.0 * (_quality_at(full, costs) - _quality_at(other, costs)).mean())


def _quality_at(curve: Curve, costs: Matrix) -> Matrix:
    """The best quality that a router has for at most these costs."""
    order = np.argsort(curve.cost_usd, kind="stable")
    best: Matrix = np.interp(costs, curve.cost_usd[order], np.maximum.accumulate(curve.quality[order]))
    return best


def _forecast(model: bytes, held: Held) -> Forecast:
    count = len(held.outcomes.candidates)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / MODEL
        path.write_bytes(model)
        session = Session(path, candidates=count)
        quality, tokens = np.zeros((2, len(held.rows), count), np.float32)
        embedding = np.zeros((len(held.rows), held.router.direction.shape[1]), np.float32)
        for batch in held.rows.batches():
            ids, mask = held.rows.take(batch)
            quality[batch], embedding[batch], tokens[batch] = session(ids.numpy(), mask.numpy())
    return Forecast(quality, quality, tokens, embedding, np.zeros(len(quality), np.float32))

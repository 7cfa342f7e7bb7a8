"""Leaving one segment out: how a router does on a kind of prompt that it never saw."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from export.bundle import Label, write_bundle
from export.choices import Forecast, ground
from export.errors import DataError
from export.evaluate import ANSWER_VALUE_USD
from export.outcomes import Outcomes
from export.prices import Price
from export.router import Training
from export.serve import forecast_of
from sidecar.bundle.load import load
from sidecar.types import Floats

Progress = Callable[[], object]
_LABEL = Label("held-out", "1", "all segments but one", "", "")


def splits(outcomes: Outcomes) -> Iterator[tuple[str, Outcomes, Outcomes]]:
    """Each segment's name, the outcomes of the other segments, and its own.

    Rows of the other segments whose group occurs in the segment are in neither.

    Raises:
        DataError: there is only one segment.
    """
    names = outcomes.segment_names()
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(
            "leaving one segment out needs at least two segments; the column `segment` is missing or has one value."
        )
    for name in names:
        inside = outcomes.segments == name
        related = np.isin(outcomes.groups, outcomes.groups[inside])
        yield name, outcomes.take(~inside & ~related), outcomes.take(inside)


def hold_out(
    outcomes: Outcomes,
    prices: Sequence[Price],
    options: Training,
    answer_value_usd: float = ANSWER_VALUE_USD,
    progress: Progress = lambda: None,
) -> dict[str, Any]:
    """Trains without each segment in turn, exports, loads, and routes that segment's prompts.

    Args:
        outcomes: of all segments.
        prices: of the candidates.
        options: of each training.
        answer_value_usd: of the policy under which prompts are routed.
        progress: called after each segment.

    Returns:
        Per segment and over all prompts: mean quality with and without shrinkage by novelty, and that of the candidate
        which was best on the training part.
    """
    segments: dict[str, Any] = {}
    for name, known, unknown in splits(outcomes):
        trained = options.train(known, prices)
        with TemporaryDirectory() as scratch:
            write_bundle(Path(scratch) / "bundle", trained, known, prices, options, _LABEL)
            forecast = forecast_of(load(Path(scratch) / "bundle"), unknown.prompts)
        segments[name] = _judge(unknown, prices, forecast, trained.prior, trained.mean_tokens, answer_value_usd)
        progress()
    total = _weighted(segments)
    return {
        "answer_value_usd": answer_value_usd,
        **total,
        "points_under_best_single": 100.0 * (total["best_single_quality"] - total["quality"]),
        "points_under_best_single_mean_of_segments": float(
            np.mean([100.0 * (s["best_single_quality"] - s["quality"]) for s in segments.values()])
        ),
        "per_segment": segments,
    }


def _judge(
    unknown: Outcomes,
    prices: Sequence[Price],
    forecast: Forecast,
    prior: Floats,
    mean_tokens: Floats,
    answer_value_usd: float,
) -> dict[str, Any]:
    basis = ground(unknown, prices, mean_tokens)
    best = int(prior.argmax())
    labelled = ~np.isnan(unknown.quality[:, best])
    if not labelled.any():
        raise DataError(
            f"segment {unknown.segments[0]!s} has no label of {unknown.candidates[best]}, the best candidate of the other "
            "segments; leave that candidate out with --candidates."
        )
    chosen = basis.choose(forecast, answer_value_usd)
    bare = basis.choose(replace(forecast, quality=forecast.unshrunk), answer_value_usd)
    return {
        "prompts": int(labelled.sum()),
        "best_single": unknown.candidates[best],
        "best_single_quality": float(unknown.quality[labelled, best].mean(dtype=np.float64)),
        "quality": float(basis.quality_of(chosen)[labelled].mean(dtype=np.float64)),
        "quality_without_shrinkage": float(basis.quality_of(bare)[labelled].mean(dtype=np.float64)),
        "cost_usd_per_1k": float(basis.cost_of(chosen)[labelled].mean() * 1000.0),
        "best_single_cost_usd_per_1k": float(basis.cost[labelled, best].mean() * 1000.0),
        "novelty": float(forecast.novelty.mean()),
    }


def _weighted(segments: dict[str, Any]) -> dict[str, Any]:
    weights = np.array([segment["prompts"] for segment in segments.values()], np.float64)
    keys = (
        "best_single_quality",
        "quality",
        "quality_without_shrinkage",
        "cost_usd_per_1k",
        "best_single_cost_usd_per_1k",
    )
    means = {key: float(np.average([s[key] for s in segments.values()], weights=weights)) for key in keys}
    return {"prompts": int(weights.sum()), **means}

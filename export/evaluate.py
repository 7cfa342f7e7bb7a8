"""Judging a router on recorded outcomes, beside the baselines it must beat."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.baselines import always_best, nearest, subject_table
from export.calibration import calibration_error
from export.choices import Chosen, Forecast, Ground
from export.curve import Curve, trace
from export.outcomes import Outcomes
from sidecar.config import BUILT_IN_POLICIES

# Where tables need one policy, it is the built-in one that puts quality first.
ANSWER_VALUE_USD = BUILT_IN_POLICIES["quality"].answer_value_usd
# An answer of at least this quality counts as solved.
SOLVED = 0.5
NEARLY = 0.97

Record = dict[str, Any]


@dataclass(frozen=True)
class Fitted:
    """What baselines are fitted on: the training outcomes, and their embeddings by the router that is judged."""

    outcomes: Outcomes
    embedding: NDArray[np.float32]


def evaluate(
    ground: Ground,
    forecast: Forecast,
    fitted: Fitted | None = None,
    answer_value_usd: float = ANSWER_VALUE_USD,
) -> Record:
    """Judges a router; the record is what `router-export evaluate --json` prints.

    Args:
        ground: recorded outcomes with their costs.
        forecast: what the router expects of them.
        fitted: for the baselines that need training; without it they are left out.
        answer_value_usd: of the tables per segment and zone.
    """
    singles = ground.single_quality()
    best = int(singles.argmax())
    curve = trace(ground, forecast)
    oracle = ground.oracle_quality()
    chosen = ground.choose(forecast, answer_value_usd)
    return {
        "prompts": len(ground.outcomes),
        "labels_known": float((~np.isnan(ground.outcomes.quality)).mean()),
        "best_single": _single(ground, best),
        "singles": [_single(ground, c) for c in range(len(singles))],
        **_of_curve(curve, ground),
        "oracle_quality": oracle,
        "ece": calibration_error(forecast.quality, ground.outcomes.quality),
        "headroom_captured": _ratio(curve.max_quality - singles[best], oracle - singles[best]),
        "mean_novelty": float(forecast.novelty.mean()),
        "operating_point": {"answer_value_usd": answer_value_usd, **_outcome(ground, chosen)},
        "per_segment": _per_segment(ground, forecast, chosen, best),
        "zones": _zones(ground, chosen),
        "baselines": _baselines(ground, forecast, fitted),
    }


def _of_curve(curve: Curve, ground: Ground) -> Record:
    singles = ground.single_quality()
    best = int(singles.argmax())
    cost = float(ground.single_cost()[best])
    return {
        "max_quality": curve.max_quality,
        "cost_ratio_at_best_single_quality": _ratio(curve.cost_at(float(singles[best])), cost),
        "cost_ratio_at_97pct": _ratio(curve.cost_at(float(NEARLY * singles[best])), cost),
        "curve": curve.points(),
    }


def _baselines(ground: Ground, forecast: Forecast, fitted: Fitted | None) -> Record:
    rows = len(ground.outcomes)
    run = ~np.isnan(ground.outcomes.quality)
    # The expectation of an even draw among the candidates that were run, not one draw.
    record: Record = {
        "random": {
            "quality": float(np.nanmean(ground.outcomes.quality.astype(np.float64), axis=1).mean()),
            "cost_usd_per_1k": float((np.where(run, ground.cost, 0.0).sum(axis=1) / run.sum(axis=1)).mean() * 1000.0),
        }
    }
    if fitted is None:
        return record
    steady = always_best(fitted.outcomes)
    record["always_best"] = {
        "name": ground.outcomes.candidates[steady],
        **_outcome(ground, _runnable(ground, np.full(rows, steady))),
    }
    others = {"subject_table": subject_table(fitted.outcomes, ground.outcomes)}
    if len(fitted.embedding):
        others["knn"] = nearest(fitted.outcomes, fitted.embedding, forecast.embedding)
    for name, other in others.items():
        ece = calibration_error(other.quality, ground.outcomes.quality)
        record[name] = {"ece": ece, **_of_curve(trace(ground, other), ground)}
    return record


def _runnable(ground: Ground, chosen: Chosen) -> Chosen:
    """The choices, moved to the next candidate that was run where the chosen one was not."""
    known = ~np.isnan(ground.outcomes.quality)
    count = known.shape[1]
    order = (chosen[:, None] + np.arange(count)) % count
    first = np.take_along_axis(known, order, axis=1).argmax(axis=1)
    runnable: Chosen = np.take_along_axis(order, first[:, None], axis=1)[:, 0]
    return runnable


def _per_segment(ground: Ground, forecast: Forecast, chosen: Chosen, best: int) -> Record:
    quality, cost = ground.quality_of(chosen), ground.cost_of(chosen)
    record: Record = {}
    for segment in ground.outcomes.segment_names():
        inside = ground.outcomes.segments == segment
        record[segment] = {
            "prompts": int(inside.sum()),
            "quality": float(quality[inside].mean(dtype=np.float64)),
            "best_single_quality": _mean_known(ground.outcomes.quality[inside, best]),
            "cost_usd_per_1k": float(cost[inside].mean() * 1000.0),
            "ece": _segment_ece(forecast, ground, inside),
            "novelty": float(forecast.novelty[inside].mean()),
        }
    return record


def _segment_ece(forecast: Forecast, ground: Ground, inside: NDArray[np.bool_]) -> float:
    return calibration_error(forecast.quality[inside], ground.outcomes.quality[inside])


def _zones(ground: Ground, chosen: Chosen) -> Record:
    """Prompts by how many of the candidates that were run solve them, and what was chosen there."""
    quality = ground.outcomes.quality
    solved = (np.nan_to_num(quality, nan=-1.0) >= SOLVED).sum(axis=1)
    run = (~np.isnan(quality)).sum(axis=1)
    zones = {
        "all": solved == run,
        "some": (solved > 1) & (solved < run),
        "one": (solved == 1) & (run > 1),
        "none": solved == 0,
    }
    record: Record = {}
    for name, inside in zones.items():
        count = int(inside.sum())
        record[name] = {"prompts": count, "share": count / len(inside)}
        if count:
            picks = np.bincount(chosen[inside], minlength=quality.shape[1]) / count
            record[name] |= {
                **_outcome(ground, chosen, inside),
                "chosen": {
                    ground.outcomes.candidates[c]: float(picks[c])
                    for c in np.argsort(-picks, kind="stable")
                    if picks[c]
                },
            }
    return record


def _outcome(ground: Ground, chosen: Chosen, inside: NDArray[np.bool_] | slice = slice(None)) -> Record:
    return {
        "quality": float(ground.quality_of(chosen)[inside].mean(dtype=np.float64)),
        "cost_usd_per_1k": float(ground.cost_of(chosen)[inside].mean() * 1000.0),
    }


def _single(ground: Ground, candidate: int) -> Record:
    return {
        "name": ground.outcomes.candidates[candidate],
        "quality": float(ground.single_quality()[candidate]),
        "cost_usd_per_1k": float(ground.single_cost()[candidate] * 1000.0),
    }


def _mean_known(values: NDArray[np.float32]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else None


def _ratio(value: float | None, by: float) -> float | None:
    return None if value is None or by == 0.0 else float(value / by)

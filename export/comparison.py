"""Bundles side by side, on the same prompts and the same candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.auroc import auroc
from export.bootstrap import paired
from export.choices import Forecast, Ground, Matrix
from export.curve import trace
from export.equal_cost import best_quality, quality_at_cost
from export.errors import DataError
from export.evaluate import Fitted, Record, evaluate
from sidecar.bundle.load import Bundle
from sidecar.config import BUILT_IN_POLICIES
from sidecar.types import Floats

# Those of the built-in policies: what a router is good for shows where money counts.
ANSWER_VALUES_USD = tuple(sorted(policy.answer_value_usd for policy in BUILT_IN_POLICIES.values()))


@dataclass(frozen=True)
class Side:
    """One of the bundles, on the common candidates.

    Attributes:
        label: what to call it.
        bundle: itself.
        forecast: what it expects of the prompts.
        unseen: [M] novelty of prompts unlike those that it was trained on; None if none were given.
        fitted: for the baselines; None leaves them out.
    """

    label: str
    bundle: Bundle
    forecast: Forecast
    unseen: Floats | None = None
    fitted: Fitted | None = None


def common_candidates(bundles: Sequence[Bundle]) -> tuple[str, ...]:
    """Names that all have, in the order of the first.

    Raises:
        DataError: there is none.
    """
    names = [[candidate.name for candidate in bundle.manifest.candidates] for bundle in bundles]
    common = tuple(name for name in names[0] if all(name in others for others in names))
    if not common:
        told = "; ".join(
            f"{bundle.manifest.name} {bundle.manifest.version} has {', '.join(given)}"
            for bundle, given in zip(bundles, names, strict=True)
        )
        raise DataError(f"the bundles have no candidate in common: {told}. Compare bundles of the same candidates.")
    return common


def labels(bundles: Sequence[Bundle]) -> list[str]:
    """Name and version of each; where two are called alike, their directories or else their places too."""
    called = [f"{bundle.manifest.name} {bundle.manifest.version}" for bundle in bundles]
    placed = [
        f"{name} ({bundle.directory.name})" if called.count(name) > 1 else name
        for name, bundle in zip(called, bundles, strict=True)
    ]
    return [f"{name} #{number}" if placed.count(name) > 1 else name for number, name in enumerate(placed, 1)]


def of_candidates(forecast: Forecast, bundle: Bundle, names: Sequence[str]) -> Forecast:
    """A forecast of some of a bundle's candidates, in the order of the names."""
    own = [candidate.name for candidate in bundle.manifest.candidates]
    columns = [own.index(name) for name in names]
    return replace(
        forecast,
        quality=forecast.quality[:, columns],
        unshrunk=forecast.unshrunk[:, columns],
        output_tokens=forecast.output_tokens[:, columns],
    )


def compare(
    ground: Ground, sides: Sequence[Side], answer_values_usd: Sequence[float] = ANSWER_VALUES_USD, seed: int = 0
) -> Record:
    """Judges bundles on recorded outcomes; differences are to the first one.

    Equal cost is what the first bundle spends where an answer is worth each of these values.

    Args:
        ground: recorded outcomes of the common candidates.
        sides: the bundles.
        answer_values_usd: at least one; the dearest one is that of the tables per segment.
        seed: of the bootstrap.
    """
    first = sides[0].forecast
    costs = [float(ground.cost_of(ground.choose(first, value)).mean()) for value in answer_values_usd]
    found = [_qualities(ground, side, costs) for side in sides]
    rows = [_row(ground, side, max(answer_values_usd)) for side in sides]
    groups = ground.outcomes.groups
    for row, (best, at_costs) in zip(rows, found, strict=True):
        row["difference_of_max_quality"] = _difference(best, found[0][0], groups, seed)
        row["at_equal_cost"] = [
            {
                "cost_usd_per_1k": cost * 1000.0,
                "quality": None if quality is None else float(quality.mean()),
                "difference": _difference(quality, reference, groups, seed),
            }
            for cost, quality, reference in zip(costs, at_costs, found[0][1], strict=True)
        ]
    own = evaluate(ground, first)
    shared = ("prompts", "labels_known", "best_single", "singles", "oracle_quality")
    return {
        "candidates": list(ground.outcomes.candidates),
        **{name: own[name] for name in shared},
        "random": own["baselines"]["random"],
        "equal_cost": [
            {"answer_value_usd": value, "cost_usd_per_1k": cost * 1000.0}
            for value, cost in zip(answer_values_usd, costs, strict=True)
        ],
        "bundles": rows,
    }


def _qualities(ground: Ground, side: Side, costs: Sequence[float]) -> tuple[Matrix, list[Matrix | None]]:
    """[N] of each prompt: under the policy of the largest mean, and at each cost."""
    curve = trace(ground, side.forecast)
    at_costs = [quality_at_cost(ground, side.forecast, curve, cost) for cost in costs]
    return best_quality(ground, side.forecast, curve), at_costs


def _row(ground: Ground, side: Side, answer_value_usd: float) -> Record:
    manifest = side.bundle.manifest
    judged = evaluate(ground, side.forecast, side.fitted, answer_value_usd)
    kept = (
        *("max_quality", "cost_ratio_at_best_single_quality", "cost_ratio_at_97pct", "headroom_captured"),
        *("operating_point", "ece", "mean_novelty", "per_segment", "baselines", "curve"),
    )
    return {
        "label": side.label,
        "name": manifest.name,
        "version": manifest.version,
        "family": manifest.family,
        "manifest_sha256": side.bundle.manifest_sha256,
        "left_out": sorted(
            {candidate.name for candidate in manifest.candidates}.difference(ground.outcomes.candidates)
        ),
        "bytes": sum(entry.size for entry in manifest.files.values()),
        "novelty_auroc": None if side.unseen is None else auroc(side.forecast.novelty, side.unseen),
        **{name: judged[name] for name in kept},
    }


def _difference(
    one: Matrix | None, other: Matrix | None, groups: NDArray[np.int64], seed: int
) -> dict[str, Any] | None:
    """In quality, not points; None of a bundle to itself, or where one has no quality."""
    if one is None or other is None or one is other:
        return None
    interval = paired(np.subtract(one, other), groups, seed)
    return {**interval._asdict(), "clear": interval.clear}

"""Bundles side by side, on the same prompts and the same candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.auroc import auroc
from export.bootstrap import paired
from export.choices import Forecast, Ground, Matrix
from export.curve import trace
from export.equal_cost import best_quality, quality_at_cost
from export.errors import DataError
from export.evaluate import ANSWER_VALUE_USD, Fitted, Record, evaluate
from sidecar.bundle.load import Bundle
from sidecar.types import Floats


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
    """Name and version of each; where two are called alike, their directories too."""
    called = [f"{bundle.manifest.name} {bundle.manifest.version}" for bundle in bundles]
    return [
        f"{name} ({bundle.directory.name})" if called.count(name) > 1 else name
        for name, bundle in zip(called, bundles, strict=True)
    ]


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


def compare(ground: Ground, sides: Sequence[Side], answer_value_usd: float = ANSWER_VALUE_USD, seed: int = 0) -> Record:
    """Judges bundles on recorded outcomes; differences are to the first one.

    Equal cost is what the first bundle spends where an answer is worth answer_value_usd.

    Args:
        ground: recorded outcomes of the common candidates.
        sides: the bundles.
        answer_value_usd: of the first one's operating point.
        seed: of the bootstrap.
    """
    curves = [trace(ground, side.forecast) for side in sides]
    cost = float(ground.cost_of(ground.choose(sides[0].forecast, answer_value_usd)).mean())
    rows: list[Record] = []
    first: tuple[Matrix | None, Matrix] | None = None
    for side, curve in zip(sides, curves, strict=True):
        at_cost = quality_at_cost(ground, side.forecast, curve, cost)
        best = best_quality(ground, side.forecast, curve)
        row = _row(ground, side, at_cost, answer_value_usd)
        if first is None:
            first = at_cost, best
        else:
            row["difference_at_equal_cost"] = _difference(ground, at_cost, first[0], seed)
            row["difference_of_max_quality"] = _difference(ground, best, first[1], seed)
        rows.append(row)
    own = evaluate(ground, sides[0].forecast, answer_value_usd=answer_value_usd)
    shared = ("prompts", "labels_known", "best_single", "singles", "oracle_quality")
    return {
        "candidates": list(ground.outcomes.candidates),
        **{name: own[name] for name in shared},
        "answer_value_usd": answer_value_usd,
        "equal_cost_usd_per_1k": cost * 1000.0,
        "random": own["baselines"]["random"],
        "bundles": rows,
    }


def _row(ground: Ground, side: Side, at_cost: Matrix | None, answer_value_usd: float) -> Record:
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
        "quality_at_equal_cost": None if at_cost is None else float(at_cost.mean()),
        "novelty_auroc": None if side.unseen is None else auroc(side.forecast.novelty, side.unseen),
        **{name: judged[name] for name in kept},
    }


def _difference(ground: Ground, one: Matrix | None, other: Matrix | None, seed: int) -> dict[str, Any] | None:
    """In quality, not points."""
    if one is None or other is None:
        return None
    interval = paired(np.subtract(one, other), ground.outcomes.groups, seed)
    return {**interval._asdict(), "clear": interval.clear}

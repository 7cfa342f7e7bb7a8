"""Leaving one segment out."""

from dataclasses import replace

import numpy as np
import pytest

from export.errors import DataError
from export.holdout import hold_out, splits
from export.network import Settings
from export.outcomes import Outcomes
from export.prices import Price
from export.train import Options

OPTIONS = Options(members=1, folds=3, dimensions=8, max_tokens=64, workers=1, network=Settings(hidden=8, steps=40))
PRICES = (Price(0.1, 0.4), Price(5.0, 15.0))


def test_neither_the_segment_nor_its_groups_are_known(outcomes: Outcomes) -> None:
    groups = outcomes.groups.copy()
    cooking, poems = (np.flatnonzero(outcomes.segments == name)[0] for name in ("cooking", "poems"))
    groups[poems] = groups[cooking]
    for name, known, unknown in splits(replace(outcomes, groups=groups)):
        assert set(unknown.segments) == {name}
        assert name not in set(known.segments)
        assert not set(known.groups) & set(unknown.groups)


def test_every_segment_is_left_out_once(outcomes: Outcomes) -> None:
    assert [name for name, _, _ in splits(outcomes)] == ["algebra", "cooking", "poems"]
    assert sum(len(unknown) for _, _, unknown in splits(outcomes)) == len(outcomes)


def test_one_segment_cannot_be_left_out(outcomes: Outcomes) -> None:
    alone = replace(outcomes, segments=np.full(len(outcomes), "all"))
    with pytest.raises(DataError, match="at least two segments"):
        hold_out(alone, PRICES, OPTIONS)


def test_a_segment_without_the_best_candidate_is_named(outcomes: Outcomes) -> None:
    quality = outcomes.quality.copy()
    quality[outcomes.segments == "algebra", 1] = np.nan
    known = replace(outcomes, quality=quality).take(np.flatnonzero((~np.isnan(quality)).any(axis=1)))
    with pytest.raises(DataError, match="segment algebra has no label of large"):
        hold_out(known, PRICES, OPTIONS)


def test_totals_are_those_of_the_segments(outcomes: Outcomes) -> None:
    calls: list[int] = []
    record = hold_out(outcomes, PRICES, OPTIONS, 1.0, lambda: calls.append(1))
    segments = record["per_segment"]
    assert len(calls) == len(segments) == 3
    assert {entry["best_single"] for entry in segments.values()} == {"large"}
    assert record["prompts"] == sum(entry["prompts"] for entry in segments.values()) == 240
    for key in ("quality", "best_single_quality", "quality_without_shrinkage"):
        mean = sum(entry[key] * entry["prompts"] for entry in segments.values()) / record["prompts"]
        assert record[key] == pytest.approx(mean)
    points = 100 * (record["best_single_quality"] - record["quality"])
    assert record["points_under_best_single"] == pytest.approx(points)

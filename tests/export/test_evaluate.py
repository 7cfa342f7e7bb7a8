"""The evaluation's figures and baselines, on cases worked out by hand."""

import numpy as np
import pytest

from export.baselines import TABLE_CAUTION, always_best, nearest, subject_table
from export.choices import Forecast, Ground, ground
from export.evaluate import Fitted, evaluate
from export.outcomes import Outcomes
from export.prices import Price

NAN = float("nan")
ISSUE_KEYS = {
    "best_single",
    "curve",
    "max_quality",
    "cost_ratio_at_best_single_quality",
    "cost_ratio_at_97pct",
    "oracle_quality",
    "ece",
    "headroom_captured",
    "per_segment",
    "zones",
    "baselines",
}


def _outcomes(quality: list[list[float]], segments: list[str]) -> Outcomes:
    values = np.array(quality, np.float32)
    rows = len(values)
    return Outcomes(
        prompts=tuple(f"prompt {i}" for i in range(rows)),
        candidates=tuple("abc"[: values.shape[1]]),
        quality=values,
        output_tokens=np.full(values.shape, 100.0, np.float32),
        prompt_tokens=np.zeros(rows, np.float32),
        segments=np.array(segments),
        sources=np.full(rows, ""),
        groups=np.arange(rows),
        contaminated=np.zeros(rows, np.bool_),
        sha256="0" * 64,
    )


def _ground(outcomes: Outcomes) -> Ground:
    return ground(outcomes, [Price(0.0, 1.0), Price(0.0, 10.0), Price(0.0, 100.0)], np.zeros(3, np.float32))


def _forecast(quality: list[list[float]]) -> Forecast:
    values = np.array(quality, np.float32)
    return Forecast(values, values, np.full(values.shape, 100.0, np.float32), values, np.zeros(len(values), np.float32))


QUALITY = [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
OUTCOMES = _outcomes(QUALITY, ["x", "x", "y", "y"])
CLEVER = _forecast([[0.9, 0.1, 0.9], [0.9, 0.1, 0.9], [0.1, 0.1, 0.9], [0.1, 0.1, 0.1]])


def test_has_every_figure_that_was_asked_for() -> None:
    assert evaluate(_ground(OUTCOMES), CLEVER).keys() >= ISSUE_KEYS


def test_figures_by_hand() -> None:
    record = evaluate(_ground(OUTCOMES), CLEVER)
    assert record["best_single"] == {"name": "c", "quality": 0.75, "cost_usd_per_1k": pytest.approx(10.0)}
    assert record["max_quality"] == record["oracle_quality"] == 0.75
    assert record["headroom_captured"] is None  # there is none
    # The dear candidate only for the third prompt: 10 + 3 * .1 instead of 40.
    assert record["cost_ratio_at_best_single_quality"] == pytest.approx(10.3 / 40)
    assert record["ece"] == pytest.approx(((0.1 * 4) + (0.1 * 3 + 0.9) + (0.1 * 4)) / 12, abs=0.1)


def test_a_target_out_of_reach_is_null() -> None:
    record = evaluate(_ground(OUTCOMES), _forecast([[0.9, 0.1, 0.1]] * 4))
    assert record["cost_ratio_at_best_single_quality"] is None
    assert record["max_quality"] == 0.5


def test_headroom_by_hand() -> None:
    outcomes = _outcomes([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], list("ssss"))
    basis = ground(outcomes, [Price(0.0, 1.0)] * 2, np.zeros(2, np.float32))
    record = evaluate(basis, _forecast([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.1]]))
    assert record["headroom_captured"] == pytest.approx((0.75 - 0.5) / (1.0 - 0.5))


def test_zones_by_hand() -> None:
    zones = evaluate(_ground(OUTCOMES), CLEVER)["zones"]
    assert {name: zone["prompts"] for name, zone in zones.items()} == {"all": 1, "some": 1, "one": 1, "none": 1}
    assert zones["one"]["chosen"] == {"c": 1.0}
    assert zones["all"]["chosen"] == {"a": 1.0}
    assert zones["none"]["quality"] == 0.0


def test_zones_count_only_candidates_that_were_run() -> None:
    outcomes = _outcomes([[1.0, NAN, 1.0], [NAN, 0.0, NAN]], ["x", "x"])
    zones = evaluate(_ground(outcomes), _forecast([[0.5] * 3] * 2))["zones"]
    assert (zones["all"]["prompts"], zones["none"]["prompts"]) == (1, 1)


def test_segments_by_hand() -> None:
    segments = evaluate(_ground(OUTCOMES), CLEVER)["per_segment"]
    assert segments["x"]["quality"] == 1.0
    assert segments["y"]["quality"] == segments["y"]["best_single_quality"] == 0.5


def test_random_is_an_even_draw_among_those_run() -> None:
    outcomes = _outcomes([[1.0, NAN, 0.0], [NAN, 1.0, NAN]], ["x", "x"])
    chance = evaluate(_ground(outcomes), _forecast([[0.5] * 3] * 2))["baselines"]["random"]
    assert chance["quality"] == 0.75
    assert chance["cost_usd_per_1k"] == pytest.approx(((0.1 + 10.0) / 2 + 1.0) / 2)


def test_baselines_that_need_training_come_with_it() -> None:
    basis = _ground(OUTCOMES)
    assert evaluate(basis, CLEVER)["baselines"].keys() == {"random"}
    record = evaluate(basis, CLEVER, Fitted(OUTCOMES, CLEVER.embedding))["baselines"]
    assert record.keys() == {"random", "always_best", "subject_table", "knn"}
    assert record["always_best"] == {"name": "c", "quality": 0.75, "cost_usd_per_1k": pytest.approx(10.0)}


def test_always_best_ignores_what_was_not_run() -> None:
    assert always_best(_outcomes([[0.9, NAN, 0.5], [0.7, 1.0, 0.5]], ["x", "x"])) == 1


def test_subject_table_by_hand() -> None:
    table = subject_table(OUTCOMES, _outcomes([[0.0] * 3] * 2, ["x", "new"]))
    overall = np.mean(QUALITY, axis=0)
    np.testing.assert_allclose(table.quality[1], overall)
    np.testing.assert_allclose(
        table.quality[0], (np.array([2, 1, 2]) + TABLE_CAUTION * overall) / (2 + TABLE_CAUTION), atol=1e-6
    )


def test_nearest_by_hand() -> None:
    known = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], np.float32)
    near = nearest(OUTCOMES, known, np.array([[2.0, 0.1], [0.0, 3.0]], np.float32), neighbours=2)
    np.testing.assert_allclose(near.quality, [np.mean(QUALITY[:2], axis=0), np.mean(QUALITY[2:], axis=0)])


def test_nearest_skips_unknown_labels() -> None:
    train = _outcomes([[1.0, NAN], [NAN, NAN], [0.0, 0.4]], ["x"] * 3)
    near = nearest(
        train, np.array([[1, 0], [1, 0.1], [0, 1]], np.float32), np.array([[1, 0]], np.float32), neighbours=2
    )
    np.testing.assert_allclose(near.quality, [[1.0, 0.4]])

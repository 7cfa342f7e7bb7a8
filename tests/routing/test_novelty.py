"""Novelty: a p-value on prompts like the training data, and the shrinkage that follows from it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.bundle.manifest import NoveltyRule
from sidecar.errors import BundleError
from sidecar.routing.novelty import MAHALANOBIS, Novelty
from sidecar.types import Floats

WIDTH = 6
PRIOR = np.array([0.7, 0.5, 0.2], np.float32)


def _arrays(seed: int = 0) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(WIDTH, WIDTH))
    held_out = (rng.normal(size=(999, WIDTH)) ** 2).sum(axis=1)
    return {
        "mean": np.full(WIDTH, 3.0, np.float32),
        "whitening": np.linalg.inv(mix).astype(np.float32),
        "null": held_out.astype(np.float32),
        "mix": mix.astype(np.float32),
    }


def _novelty(shrinkage: Mapping[str, float] = {}, arrays: Mapping[str, Any] | None = None) -> Novelty:
    return Novelty(NoveltyRule(kind=MAHALANOBIS, shrinkage=dict(shrinkage)), arrays or _arrays(), PRIOR)


def _prompts(rows: int, away: float = 0.0) -> Floats:
    arrays = _arrays()
    prompts = np.random.default_rng(7).normal(away, 1.0, (rows, WIDTH)).astype(np.float32)
    moved: Floats = prompts @ arrays["mix"] + np.float32(3.0)
    return moved


def test_is_uniform_on_prompts_like_the_training_data() -> None:
    novelty = _novelty()(_prompts(4000))
    np.testing.assert_allclose(np.quantile(novelty, np.linspace(0.1, 0.9, 9)), np.linspace(0.1, 0.9, 9), atol=0.04)


def test_is_high_far_away_but_never_one() -> None:
    novelty = _novelty()(_prompts(50, away=9.0))
    assert novelty.min() == novelty.max() == pytest.approx(0.999)


def test_is_the_rank_among_held_out_distances() -> None:
    arrays = {
        "mean": np.zeros(1, np.float32),
        "whitening": np.eye(1, dtype=np.float32),
        "null": np.array([9.0, 1.0, 4.0], np.float32),
    }
    measured = _novelty(arrays=arrays)(np.array([[0.5], [1.5], [2.5], [99.0]], np.float32))
    np.testing.assert_allclose(measured, [0.0, 0.25, 0.5, 0.75])


def test_rises_with_distance() -> None:
    steps = np.outer(np.linspace(0, 5, 40), np.ones(WIDTH)) @ _arrays()["mix"] + 3.0
    assert (np.diff(_novelty()(steps.astype(np.float32))) >= 0).all()


def test_a_batch_scores_as_its_rows() -> None:
    novelty, prompts = _novelty(), _prompts(20)
    np.testing.assert_array_equal(novelty(prompts), np.concatenate([novelty(prompts[i : i + 1]) for i in range(20)]))
    assert novelty(prompts).dtype == np.float32


def test_knows_the_width_it_measures() -> None:
    assert _novelty().dimensions == WIDTH


_QUALITY = np.array([[0.9, 0.1, 0.4]], np.float32)


def _shrunk(shrinkage: Mapping[str, float], novelty: float) -> Floats:
    shrunk: Floats = _novelty(shrinkage).shrink(_QUALITY, np.array([novelty], np.float32))[0]
    return shrunk


def test_familiar_prompts_keep_their_quality() -> None:
    np.testing.assert_array_equal(_shrunk({"start": 0.5}, 0.5), _QUALITY[0])


def test_wholly_novel_prompts_get_the_prior() -> None:
    np.testing.assert_allclose(_shrunk({}, 1.0), PRIOR, atol=1e-6)


def test_in_between_by_hand() -> None:
    # Half way from start to 1, squared: a quarter of the distance goes.
    got = _shrunk({"start": 0.6, "power": 2.0}, 0.8)
    np.testing.assert_allclose(got, _QUALITY[0] + 0.25 * (PRIOR - _QUALITY[0]), atol=1e-6)


def test_strength_bounds_what_goes() -> None:
    got = _shrunk({"start": 0.0, "strength": 0.5}, 1.0)
    np.testing.assert_allclose(got, (_QUALITY[0] + PRIOR) / 2, atol=1e-6)


def test_the_floor_goes_for_every_prompt() -> None:
    shrinkage = {"start": 0.5, "floor": 0.4, "strength": 0.8}
    for novelty, lost in ((0.0, 0.4), (0.5, 0.4), (0.75, 0.6), (1.0, 0.8)):
        np.testing.assert_allclose(_shrunk(shrinkage, novelty), _QUALITY[0] + lost * (PRIOR - _QUALITY[0]), atol=1e-6)


def test_what_candidates_have_in_common_may_stay() -> None:
    got = _shrunk({"start": 0.0, "common": 0.0}, 1.0)
    assert got.mean() == pytest.approx(_QUALITY.mean(), abs=1e-6)
    np.testing.assert_allclose(np.diff(got), np.diff(PRIOR), atol=1e-6)


_SHARE = st.floats(0.0, 1.0, width=32)


@given(
    st.lists(st.tuples(_SHARE, _SHARE, _SHARE), min_size=1, max_size=5),
    _SHARE,
    st.fixed_dictionaries(
        {"start": st.floats(0.0, 0.9), "power": st.floats(0.1, 4.0), "common": _SHARE, "floor": _SHARE}
    ),
)
def test_shrunk_quality_is_a_probability(
    rows: list[tuple[float, float, float]], novelty: float, shrinkage: dict[str, float]
) -> None:
    quality = np.array(rows, np.float32)
    shrunk = _novelty(shrinkage).shrink(quality, np.full(len(rows), novelty, np.float32))
    assert shrunk.shape == quality.shape
    assert shrunk.dtype == np.float32
    assert ((shrunk >= 0.0) & (shrunk <= 1.0)).all()


@given(st.tuples(_SHARE, _SHARE, _SHARE), _SHARE, _SHARE)
def test_more_novelty_never_moves_quality_away_from_the_prior(
    row: tuple[float, float, float], one: float, other: float
) -> None:
    quality = np.array([row, row], np.float32)
    less, more = sorted((one, other))
    shrunk = _novelty({"start": 0.2}).shrink(quality, np.array([less, more], np.float32))
    distance = np.abs(shrunk - PRIOR)
    assert (distance[1] <= distance[0] + 1e-6).all()


def _spoiled(**changes: Any) -> dict[str, Any]:
    return {**_arrays(), **changes}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean": np.zeros(2, np.float32)}, "`whitening` is missing"),
        (_spoiled(mean=np.zeros((2, 2), np.float32)), "`mean` is float32 of shape"),
        (_spoiled(mean=np.zeros(5, np.float32)), "does not fit `mean`"),
        (_spoiled(whitening=np.zeros((WIDTH, WIDTH + 1), np.float32)), "does not fit `mean`"),
        (_spoiled(null=np.zeros(0, np.float32)), "none of them empty"),
        (_spoiled(null=np.array(["a"])), "must be float"),
        (_spoiled(null=np.array([1.0, np.nan])), "not finite"),
        (_spoiled(mean=np.full(WIDTH, 1e300)), "not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_unusable_arrays_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=f"reference.npz: .*{message}"):
        _novelty(arrays=arrays)


@pytest.mark.parametrize(
    "shrinkage",
    [
        {"start": 1.0},
        {"start": -0.1},
        {"strength": 1.1},
        {"power": 0.0},
        {"common": 2.0},
        {"floor": 0.5, "strength": 0.4},
        {"start": float("nan")},
    ],
)
def test_shrinkage_out_of_range_is_refused(shrinkage: dict[str, float]) -> None:
    with pytest.raises(BundleError, match="shrinkage needs"):
        _novelty(shrinkage)


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(BundleError, match=r"novelty.shrinkage.strenght is unknown; known are start"):
        _novelty({"strenght": 1.0})


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BundleError, match=r"novelty.kind 'magic' is unknown"):
        Novelty(NoveltyRule(kind="magic"), _arrays(), PRIOR)


@given(
    st.lists(st.tuples(_SHARE, _SHARE, _SHARE), min_size=1, max_size=5),
    st.floats(0.0, 6.0),
    st.fixed_dictionaries(
        {
            "start": st.sampled_from([0.0, 0.3, 0.5, 0.9]),
            "strength": st.sampled_from([0.5, 1.0]),
            "power": st.sampled_from([0.7, 1.0, 2.0, 3.0]),
            "floor": st.sampled_from([0.0, 0.4]),
            "common": st.sampled_from([0.0, 0.5, 1.0]),
        }
    ),
)
def test_in_one_go_it_is_the_same_to_the_last_bit_as_the_formula(
    rows: list[tuple[float, float, float]], away: float, shrinkage: dict[str, float]
) -> None:
    measure, quality, prompts = _novelty(shrinkage), np.array(rows, np.float32), _prompts(len(rows), away)
    novelty, shrunk = measure.weigh(quality, prompts)
    np.testing.assert_array_equal(novelty, measure(prompts))
    np.testing.assert_array_equal(shrunk, _formula(shrinkage, quality, novelty))
    np.testing.assert_array_equal(shrunk, measure.shrink(quality, novelty))
    assert {novelty.dtype, shrunk.dtype} == {np.dtype(np.float32)}


def _formula(shrinkage: dict[str, float], quality: Floats, novelty: Floats) -> Floats:
    """Written down as it is read, in numbers of 32 bits."""
    start, power, floor = (np.float32(shrinkage[name]) for name in ("start", "power", "floor"))
    if floor == 0.0 and novelty.max() <= start:
        return quality
    lost = np.maximum((novelty - start) * np.float32(1.0 / (1.0 - shrinkage["start"])), np.float32(0.0))
    if power != 1.0:
        lost **= power
    lost = lost * np.float32(shrinkage["strength"] - shrinkage["floor"]) + floor
    even = np.full(3, (1.0 - shrinkage["common"]) / 3, np.float32)
    easier = np.dot(quality, even) - np.dot(PRIOR, even)
    shrunk: Floats = quality + lost[:, None] * (PRIOR + easier[:, None] - quality)
    return np.minimum(np.maximum(shrunk, np.float32(0.0)), np.float32(1.0))

"""Chance in the choice, with the exact probability of what was chosen."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sidecar.routing.candidates import Column, Mask

Draw = Callable[[], float]  # uniform in [0, 1)


class Pick(NamedTuple):
    """One choice.

    Attributes:
        candidate: output index.
        propensity: probability with which it was chosen.
    """

    candidate: int
    propensity: float


def pick(utility: Column, among: Mask, share: Column, blur_usd: float, draw: Draw) -> Pick:
    """Chooses the candidate of the largest utility, by chance where that is not certain.

    Args:
        utility: [C] in USD.
        among: [C] who may be chosen; at least one.
        share: [C] of the requests in which a candidate takes part. One number is drawn for all of them, so that there are
            as many cases as different shares. Where a draw leaves nobody, all take part.
        blur_usd: whoever is worse than the best by no more than this is as good; one of them is drawn.
        draw: where chance comes from.
    """
    if share[among].min() >= 1.0:
        return _among(utility, among, blur_usd, draw)
    coin = draw()
    edges = sorted({0.0, 1.0, *(float(value) for value in share[among] if 0.0 < value < 1.0)})
    cases = [(high - low, _taking_part(among, share, low)) for low, high in pairwise(edges)]
    at = int(np.searchsorted(edges, coin, side="right")) - 1
    chosen = _among(utility, cases[at][1], blur_usd, draw).candidate
    return Pick(chosen, min(1.0, sum(weight * _chance(utility, part, blur_usd, chosen) for weight, part in cases)))


def _taking_part(among: Mask, share: Column, coin: float) -> Mask:
    part: Mask = among & (share > coin)
    return part if part.any() else among


def _among(utility: Column, among: Mask, blur_usd: float, draw: Draw) -> Pick:
    if blur_usd <= 0.0:
        return Pick(int(np.where(among, utility, -np.inf).argmax()), 1.0)
    near = np.flatnonzero(_near(utility, among, blur_usd))
    return Pick(int(near[int(draw() * len(near))]), 1.0 / len(near))


def _chance(utility: Column, among: Mask, blur_usd: float, index: int) -> float:
    if blur_usd <= 0.0:
        return float(np.where(among, utility, -np.inf).argmax() == index)
    near = _near(utility, among, blur_usd)
    return float(near[index]) / float(near.sum())


def _near(utility: Column, among: Mask, blur_usd: float) -> Mask:
    rated = np.where(among, utility, -np.inf)
    near: Mask = rated >= rated.max() - blur_usd
    return near

"""What could be had at all: the same requests, decided with knowledge that no router has, and the least that any leaves over.

A target that is missed says little without it: whether a better router would meet it, or none can.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from benchmarks.fleet import figures, fluid
from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate, enlarged
from benchmarks.fleet.foresight import Foresight, Prices
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.policies import Policy, Recorded
from benchmarks.fleet.replay import at_once
from benchmarks.fleet.scene import ANSWER_VALUE_USD, Blind, Expected, Scene
from benchmarks.fleet.workload import Matrix, Workload
from benchmarks.samples import Row
from sidecar.fleet.settings import FleetConfig

COLUMNS = ("subject", "p95_s", "ratio", "points", "usd_per_1k", "over_capacity_s", "queued_s", "prices", "shares")
# Times the run's price of a second; how much a call's drag on others counts; whether its cost counts.
SECONDS, DRAGS, THRIFTS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0), (0.0, 3.0), (1.0, 0.0)
MOST_POINTS_LOST = 0.5
# So many times the slots: nobody ever waits, or shares his server with more than a few.
ENDLESS = 1000.0
EXPECTED, TRUE = "expected lengths", "true lengths"
LEGEND = (
    "ratio: p95 of load-blind / this; points: quality less load-blind's; exact load: to the second what every server will do "
    "with the calls that it has; lengths: of the answers, as the bundle expects them or as they will be; best prices: those of "
    "the tried ones, of a second (so many times the run's), of the drag on other streams and with or without thought of cost, "
    f"that give the largest ratio at no more than {MOST_POINTS_LOST:g} points lost"
)

Run = tuple[list[Journey], Gateway]


class Against(NamedTuple):
    """The load-blind run that others are compared with.

    Attributes:
        p95_s: virtual seconds.
        quality: [R] of the counted requests.
    """

    p95_s: float
    quality: Matrix


def foreseen(scene: Scene, blind: Blind, asked: Workload, from_s: float, against: Against) -> Iterator[Row]:
    """Rows of runs that know more than a router can, the first one with load-blind's choices and endless slots.

    Args:
        scene: fleet and questions.
        blind: what the blind router decides and expects.
        asked: what comes.
        from_s: end of the warm-up.
        against: the load-blind run.
    """
    endless = _run(scene, enlarged(scene.fleet, ENDLESS), asked, Recorded(blind.rankings))
    yield _row("load-blind's choices, endless slots", scene, endless, from_s, against)
    for lengths, tokens in ((EXPECTED, blind.expected.tokens), (TRUE, scene.questions.tokens)):
        knowledge = Expected(blind.expected.quality, tokens)
        rows = [
            {**_tried(scene, knowledge, prices, asked, from_s, against), "prices": _told(prices, scene)}
            for prices in _prices(scene.second_value_usd)
        ]
        yield {"subject": f"exact load, {lengths}", **rows[0]}
        within = [row for row in rows if row["ratio"] and row["points"] >= -MOST_POINTS_LOST]
        best = max(within, key=lambda row: row["ratio"], default={})
        yield {"subject": f"exact load, {lengths}, best prices", **best}


def least_over(scene: Scene, tokens: Matrix, among: Sequence[int], asked: Workload, from_s: float) -> float:
    """Longest time in which, whoever decides, one of these candidates has more than a second's work queued.

    As far as answers are as long as that on average, that is so while more is left over (see fluid) than a second's work and what fits into all slots: calls of usual length
    that have just begun.

    Args:
        scene: fleet and questions.
        tokens: [N, C] lengths of the answers.
        among: who may answer.
        asked: what comes.
        from_s: end of the warm-up.
    """
    fleet = [scene.fleet[index] for index in among]
    columns = scene.questions.columns(among)
    work = fluid.taken(fleet, columns, tokens[:, list(among)])
    price = fluid.prices(work)
    usual = np.ma.masked_invalid(work).mean(axis=0).filled(0.0)
    in_slots = float((price * usual * [one.slots for one in fleet]).sum())
    over = fluid.backlog_over(asked.arrivals, fluid.worth(work, price)[asked.questions], 1.0 + in_slots)
    return figures.longest(over, from_s)


def _prices(second_value_usd: float) -> list[Prices]:
    """Those of the run first, then the others."""
    congestion = FleetConfig().congestion_factor
    own = Prices(ANSWER_VALUE_USD, second_value_usd, congestion)
    grid = [
        Prices(ANSWER_VALUE_USD, second_value_usd * times, congestion, drag, thrift)
        for times, drag, thrift in product(SECONDS, DRAGS, THRIFTS)
    ]
    return [own, *(prices for prices in grid if prices != own)]


def _told(prices: Prices, scene: Scene) -> str:
    times = prices.second_value_usd / scene.second_value_usd if scene.second_value_usd else 1.0
    return (
        f"{times:g}x" + (f", drag {prices.drag:g}" if prices.drag else "") + ("" if prices.thrift else ", cost ignored")
    )


def _tried(scene: Scene, knowledge: Expected, prices: Prices, asked: Workload, from_s: float, against: Against) -> Row:
    run = _run(scene, scene.fleet, asked, Foresight(scene.questions, knowledge, prices))
    return _row("", scene, run, from_s, against)


def _run(scene: Scene, fleet: Sequence[Candidate], asked: Workload, decider: Policy) -> Run:
    gateway = Gateway(fleet, scene.questions, Calendar())
    return at_once(asked, gateway, decider), gateway


def _row(subject: str, scene: Scene, run: Run, from_s: float, against: Against) -> Row:
    journeys, gateway = run
    row = figures.summary(journeys, scene.questions, gateway, from_s)
    quality = figures.qualities(figures.counted(journeys, from_s), scene.questions)
    points, _ = figures.quality_difference(quality, against.quality)
    ratio = against.p95_s / row["p95_s"] if row["p95_s"] and against.p95_s else None
    return {**({"subject": subject} if subject else {}), **row, "ratio": ratio, "points": points}

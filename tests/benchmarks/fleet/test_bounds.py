import numpy as np
import pytest

from benchmarks.cores import Cores
from benchmarks.fleet import bounds, figures, stretches
from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.gateway import Gateway
from benchmarks.fleet.policies import LeastInFlight, Policy, Recorded, RoundRobin
from benchmarks.fleet.replay import at_once
from benchmarks.fleet.scene import Blind, Expected, Scene
from benchmarks.fleet.workload import Questions, Workload

SUBJECTS = [
    "load-blind's choices, endless slots",
    "exact load, expected lengths",
    "exact load, expected lengths, best prices",
    "exact load, true lengths",
    "exact load, true lengths, best prices",
]


@pytest.fixture
def scene(fleet: list[Candidate], questions: Questions) -> Scene:
    return Scene(fleet, questions, [0.5, 0.7, 0.75], None, Cores(None, None))


@pytest.fixture
def asked() -> Workload:
    """Five requests in four seconds: twice what the slowest candidate can do; question 1 is beyond the first."""
    return Workload(np.arange(240, dtype=np.float64) * 0.8, np.arange(240) % 2, 192.0)


def blind_of(questions: Questions, quality: list[float]) -> Blind:
    """Sends everything to the third candidate, and takes its answers to be the shortest, which are the longest."""
    expected = Expected(np.tile(quality, (4, 1)), np.tile([3.0, 2.0, 1.0], (len(questions), 1)))
    return Blind([[2]] * 4, 2, 0.67, expected)


def against(scene: Scene, asked: Workload) -> tuple[bounds.Against, Gateway]:
    gateway = Gateway(scene.fleet, scene.questions, Calendar())
    journeys = at_once(asked, gateway, Recorded([[2]] * 4))
    p95 = float(np.quantile(figures.answers_s(journeys), 0.95))
    return bounds.Against(p95, figures.qualities(journeys, scene.questions)), gateway


def test_more_knowledge_never_hurts_and_the_best_prices_keep_the_quality(scene: Scene, asked: Workload) -> None:
    blind = blind_of(scene.questions, [0.6, 0.6, 0.6])
    base, _ = against(scene, asked)
    rows = list(bounds.foreseen(scene, blind, asked, 0.0, base))
    assert [row["subject"] for row in rows] == SUBJECTS
    endless, expected, best_expected, true, best_true = rows
    assert (endless["p95_s"], endless["queued_s"], endless["points"]) == (pytest.approx(3.0, abs=0.01), 0.0, 0.0)
    assert true["ratio"] > expected["ratio"] > 1
    # Whoever knows the lengths takes the first candidate, which is quickest and wrong on every second question.
    assert true["prices"] == "1x"
    assert true["points"] < -10
    for best in (best_expected, best_true):
        assert best.get("points", 0.0) >= -bounds.MOST_POINTS_LOST
    assert "ratio" not in best_true  # at any price the quickest is preferred where qualities are equal


def test_prices_that_keep_the_quality_are_found(scene: Scene, asked: Workload) -> None:
    # A second is worth 0.04 points: at the run's own prices the better answers are worth five seconds of waiting.
    blind = blind_of(scene.questions, [0.1, 0.7, 0.7])
    base, _ = against(scene, asked)
    *_, best = bounds.foreseen(scene, blind, asked, 0.0, base)
    assert best["points"] == 0.0
    assert best["ratio"] > 5
    assert best["shares"]["med"] > 0.5


@pytest.mark.parametrize("gap", [0.1, 0.25])
def test_no_policy_is_less_long_over_capacity_than_the_bound(scene: Scene, gap: float) -> None:
    """Eighty requests at twice and five times the fleet's rate."""
    asked = Workload(np.arange(80, dtype=np.float64) * gap, np.arange(80) % 3, 80 * gap)
    everyone = range(len(scene.fleet))
    least = bounds.least_over(scene, scene.questions.tokens, everyone, asked, 0.0)
    deciders: list[Policy] = [
        Recorded([[2]] * 4),
        RoundRobin(everyone, scene.questions.answerable),
        LeastInFlight(everyone, scene.questions.answerable),
    ]
    for decider in deciders:
        gateway = Gateway(scene.fleet, scene.questions, Calendar())
        at_once(asked, gateway, decider)
        work = figures.second_of_work(gateway, scene.questions)
        over = stretches.either(*(server.queued(most) for server, most in zip(gateway.servers, work, strict=True)))
        assert figures.longest(over) >= least
    assert (least > 3.0) == (gap < 0.2)


def test_fewer_candidates_are_longer_over_capacity(scene: Scene) -> None:
    asked = Workload(np.arange(80, dtype=np.float64) * 0.1, np.arange(80) % 3, 8.0)
    tokens = scene.questions.tokens
    every, two = (bounds.least_over(scene, tokens, among, asked, 0.0) for among in ([0, 1, 2], [1, 2]))
    assert two > every > 0.0
    assert bounds.least_over(scene, tokens, [0, 1, 2], asked, 5.0) == pytest.approx(every - 5.0, abs=2.0)

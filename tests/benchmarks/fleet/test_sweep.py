from pathlib import Path

import numpy as np
import pytest

from benchmarks.cores import Cores
from benchmarks.fleet import figures, plot
from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.policies import Recorded
from benchmarks.fleet.replay import at_once
from benchmarks.fleet.scene import Blind, Expected, Scene
from benchmarks.fleet.sweep import BLIND, LEAST, OURS, TURNS, _asides, _balance, _baselines, _bounds, _verdicts
from benchmarks.fleet.workload import Questions, Workload


@pytest.fixture
def scene(fleet: list[Candidate], questions: Questions) -> Scene:
    return Scene(fleet, questions, [0.5, 0.7, 0.75], None, Cores(None, None))


@pytest.fixture
def asked() -> Workload:
    """Five requests in four seconds: twice what the slowest candidate can do, and less than two of them."""
    return Workload(np.arange(240, dtype=np.float64) * 0.8, np.arange(240) % 3, 192.0)


def test_all_policies_meet_the_same_requests_and_only_the_blind_one_piles_up(scene: Scene, asked: Workload) -> None:
    runs = _baselines(scene, Blind([[2]] * 4, 2, 0.67), asked)
    assert list(runs) == [BLIND, TURNS, LEAST]
    for journeys, _ in runs.values():
        assert [(one.arrived, one.question) for one in journeys] == list(
            zip(asked.arrivals.tolist(), asked.questions.tolist(), strict=True)
        )
    p95 = {name: np.quantile(figures.answers_s(journeys), 0.95) for name, (journeys, _) in runs.items()}
    assert p95[BLIND] > 10 * p95[LEAST]
    # The floor leaves out the first candidate, whose quality is 0.25 below the best one's.
    for name in (TURNS, LEAST):
        assert {journey.chosen for journey in runs[name][0]} == {1, 2}


def test_the_verdicts_compare_with_the_blind_one_on_the_same_requests(scene: Scene, asked: Workload) -> None:
    runs = _baselines(scene, Blind([[2]] * 4, 2, 0.67), asked)
    ours = Gateway(scene.fleet, scene.questions, Calendar())
    runs[OURS] = at_once(asked, ours, Recorded([[0], [1], [2], [0]])), ours
    rows = [
        {"subject": name, **figures.summary(journeys, scene.questions, gateway, 10.0)}
        for name, (journeys, gateway) in runs.items()
    ]
    lines = _verdicts(scene, "trace", runs, rows, 10.0)
    said = {row["subject"]: row for row in lines}
    assert said["trace: p95 load-blind / ours at saturation"]["verdict"] == "met"
    # Every question is answered rightly by all that are chosen here.
    (quality,) = (row for row in lines if "quality lost" in row["subject"])
    assert (quality["value"], quality["verdict"]) == (0.0, "met")
    assert said["trace: - longest over capacity, s (ours)"]["value"] == 0.0
    assert said["trace: - the same, of load-blind"]["value"] > 5


def test_lost_quality_is_missed(scene: Scene, asked: Workload) -> None:
    runs = _baselines(scene, Blind([[2]] * 4, 2, 0.67), asked)
    ours = Gateway(scene.fleet, scene.questions, Calendar())
    runs[OURS] = at_once(asked, ours, Recorded([[0]] * 4)), ours
    rows = [
        {"subject": name, **figures.summary(journeys, scene.questions, gateway)}
        for name, (journeys, gateway) in runs.items()
    ]
    (quality,) = (row for row in _verdicts(scene, "trace", runs, rows, 0.0) if "quality lost" in row["subject"])
    assert (round(quality["value"], 1), quality["verdict"]) == (66.7, "MISSED")


def test_ours_is_blamed_for_what_it_need_not_have_done_and_no_more(scene: Scene, asked: Workload) -> None:
    blind = Blind([[2]] * 4, 2, 0.67, Expected(scene.questions.quality, scene.questions.tokens))
    _, gateway = _baselines(scene, blind, asked)[BLIND]
    said = {row["subject"]: row["value"] for row in _balance(scene, blind, "trace", asked, 10.0, gateway)}
    assert not [subject for subject in said if "target" in subject]
    assert said["trace: - over capacity while another had a free slot, longest, s (ours; all)"] > 100
    assert said["trace: - over capacity while another had a free slot, longest, s (ours; the 2 best)"] > 100
    assert said["trace: - bound: over capacity whoever decides, longest, s (all; true lengths)"] == 0.0
    assert len(said) == 8


def test_the_bounds_are_of_the_same_requests(scene: Scene, asked: Workload) -> None:
    blind = Blind([[2]] * 4, 2, 0.67, Expected(scene.questions.quality, scene.questions.tokens))
    run = _baselines(scene, blind, asked)[BLIND]
    section = _bounds(scene, blind, "trace", asked, 10.0, run)
    assert section.name == "sweep_trace_bounds"
    kept = figures.counted(run[0], 10.0)
    assert {row["requests"] for row in section.rows} == {len(kept)}
    blind_p95 = np.quantile(figures.answers_s(kept), 0.95)
    for row in section.rows:
        assert row["ratio"] == pytest.approx(blind_p95 / row["p95_s"], rel=0.02)


def test_waiting_for_decisions_is_told_in_real_time() -> None:
    journeys = [Journey(0, 1.0, decided=1.4, ranking=[0], answered_by=0, done=3.4, expected_s=0.05) for _ in range(100)]
    (told,) = _asides(1.0, journeys, 20.0)
    assert "waited 20.0 ms for its decisions at p50" in told
    assert "was 0.50 of the real one" in told


def test_a_line_of_the_plot_is_one_policys_figures_in_order_of_the_load() -> None:
    rows = [
        {"subject": "ours", "load": 1.0, "p95_s": 3.0},
        {"subject": "load-blind", "load": 0.5, "p95_s": 9.0},
        {"subject": "ours", "load": 0.5, "p95_s": 2.0},
        {"subject": "ours", "load": 1.5, "p95_s": None},
    ]
    assert plot.series(rows, "ours", "p95_s") == ([0.5, 1.0], [2.0, 3.0])


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        {"subject": name, "load": load, "p95_s": load, "quality": 0.7, "usd_per_1k": 0.1}
        for name in (BLIND, TURNS, LEAST, OURS)
        for load in (0.5, 1.0)
    ]
    plot.draw(tmp_path / "load.png", rows, "title", "caption")
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_sweep_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not run"):
        plot.draw(tmp_path / "load.png", [], "title", "caption")

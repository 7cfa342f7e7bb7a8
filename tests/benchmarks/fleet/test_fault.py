import numpy as np
import pytest

from benchmarks.fleet.fault import Case, Plan, _verdicts, cases, judged
from benchmarks.fleet.gateway import Journey
from benchmarks.fleet.scene import Blind
from benchmarks.fleet.servers import Fault

PLAN = Plan(fails=6.0, recovers=12.0, ends=26.0)
RATE = 200


def decisions(*stretches: tuple[float, float, float]) -> list[Journey]:
    """Decisions at an even pace; of those in each stretch, candidate 1 gets this share, evenly mixed."""
    made = []
    for start, stop, share in stretches:
        for number in range(round((stop - start) * RATE)):
            chosen = int((number + 1) * share) - int(number * share)
            made.append(Journey(0, 0.0, decided=start + (number + 0.5) / RATE, ranking=[chosen]))
    return made


def test_a_candidate_that_is_left_alone_and_taken_back_gently() -> None:
    row = judged(
        decisions((0, 6, 0.2), (6, 7, 0.1), (7, 12, 0.0), (12, 15, 0.0), (15, 18, 0.1), (18, 26, 0.2)), 1, PLAN
    )
    assert row["steady_share"] == pytest.approx(0.2, abs=0.002)
    assert row["share_after_2_s"] == 0.0
    assert row["left_alone_s"] == 1.0
    # From 17.6 s on a second holds 0.6 of the steady share and more, and 80 % of it when six tenths are in the new stretch.
    assert row["back_s"] == pytest.approx(18.6 - 12.0, abs=0.11)
    assert row["peak_of_steady"] == pytest.approx(1.0, abs=0.06)
    assert row["shares_from_failure"][:4] == [0.1, 0.1, 0.0, 0.0]
    assert len(row["shares_from_failure"]) == 40


def test_one_that_is_never_left_alone_and_never_comes_back() -> None:
    row = judged(decisions((0, 12, 0.2), (12, 26, 0.1)), 1, PLAN)
    assert row["share_after_2_s"] == pytest.approx(0.2)
    assert row["left_alone_s"] == 6.0
    assert row["back_s"] is None
    verdicts = {line["subject"]: line["verdict"] for line in _verdicts("it", row, aimed=True)}
    assert verdicts == {
        "it: share from 2 s on": "MISSED",
        "it: back at its share, s (not within the run)": "MISSED",
        "it: highest second after it / steady share": "met",
    }


def test_a_stampede_shows_in_the_highest_second() -> None:
    row = judged(decisions((0, 6, 0.2), (6, 13, 0.0), (13, 14, 0.5), (14, 26, 0.2)), 1, PLAN)
    assert row["peak_of_steady"] == pytest.approx(2.5, abs=0.05)
    assert [line["verdict"] for line in _verdicts("it", row, aimed=True)] == ["met", "met", "MISSED"]


def test_a_stampede_that_lies_across_two_whole_seconds_is_seen() -> None:
    row = judged(decisions((0, 6, 0.2), (6, 13.5, 0.0), (13.5, 14.5, 0.5), (14.5, 26, 0.2)), 1, PLAN)
    assert row["peak_of_steady"] == pytest.approx(2.5, abs=0.05)


def test_a_candidate_that_was_hardly_chosen_tells_nothing() -> None:
    row = judged(decisions((0, 26, 0.0)), 1, PLAN)
    assert [line["verdict"] for line in _verdicts("it", row, aimed=True)] == ["-"]


def test_failures_without_a_target_are_told_without_a_verdict() -> None:
    row = judged(decisions((0, 26, 0.2)), 1, PLAN)
    assert [line["verdict"] for line in _verdicts("it", row, aimed=False)] == ["-"] * 3


def test_the_second_choice_fails_first_and_then_the_favourite() -> None:
    blind = Blind([[0], [0], [0], [2], [2], [1]], 0, 1.0)
    assert cases(blind, 3, quick=True) == [Case(2, Fault.ERRORS)]
    every = cases(blind, 3, quick=False)
    assert every[0] == Case(2, Fault.ERRORS)
    assert {case.fault for case in every} == {Fault.ERRORS, Fault.HANG, Fault.RATE_LIMIT}
    assert {case.candidate for case in every} == {0, 2}


def test_the_steady_share_leaves_out_how_the_run_began() -> None:
    row = judged(decisions((0, 2, 1.0), (2, 26, 0.2)), 1, PLAN)
    assert row["steady_share"] == pytest.approx(0.2, abs=0.01)
    assert np.isfinite(row["peak_of_steady"])

from collections.abc import Sequence

import pytest

from export.timing import ENOUGH_FOR_P99, WARM_UP, microseconds
from sidecar.types import Scores


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed:
    """A scorer that takes a fixed time for each text, by a clock that nobody else moves."""

    def __init__(self, name: str, seconds: float, clock: Clock, log: list[tuple[str, list[str]]]) -> None:
        self._name, self._seconds, self._clock, self._log = name, seconds, clock, log

    def __call__(self, texts: Sequence[str]) -> Scores:
        self._clock.now += self._seconds * len(texts)
        self._log.append((self._name, list(texts)))
        return None  # type: ignore[return-value]  # nobody looks at it


def test_bundles_take_turns_and_each_gets_its_own_time() -> None:
    clock, log = Clock(), []  # type: ignore[var-annotated]
    quick, slow = Timed("quick", 1e-5, clock, log), Timed("slow", 5e-3, clock, log)
    windows = [str(number) for number in range(50)]
    found = microseconds([(quick, windows), (slow, windows)], seconds=1.0, clock=clock)
    assert found[0]["1"]["median"] == pytest.approx(10.0)
    assert found[1]["1"] == {"median": pytest.approx(5000.0), "p99": pytest.approx(5000.0), "rounds": 200}
    # A batch of 32 takes 0.16 s of the second: too few rounds to tell of one in a hundred.
    assert found[1]["32"]["rounds"] < ENOUGH_FOR_P99
    assert (found[1]["32"]["median"], found[1]["32"]["p99"]) == (pytest.approx(5000.0), None)
    singles = [name for name, texts in log if len(texts) == 1][2 * WARM_UP :]
    assert (
        singles[:8] == ["slow", "quick", "quick", "slow"] * 2 or singles[:8] == ["quick", "slow", "slow", "quick"] * 2
    )
    assert {len(texts) for _, texts in log} == {1, 32}


def test_both_score_the_same_prompts_and_go_round_where_these_are_few() -> None:
    clock, log = Clock(), []  # type: ignore[var-annotated]
    scorers = [(Timed(name, 1e-3, clock, log), ["a", "b", "c"]) for name in ("one", "two")]
    microseconds(scorers, seconds=0.05, clock=clock, sizes=(2,))
    one, two = ([texts for name, texts in log if name == wanted] for wanted in ("one", "two"))
    assert one == two
    assert one[:3] == [["a", "b"], ["c", "a"], ["b", "c"]]


def test_a_bundle_slower_than_the_time_is_measured_once() -> None:
    clock = Clock()
    (found,) = microseconds([(Timed("slow", 9.0, clock, []), ["a"])], seconds=1.0, clock=clock, sizes=(1,))
    assert found["1"] == {"median": 9e6, "p99": None, "rounds": 1}

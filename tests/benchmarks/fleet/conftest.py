"""A small fleet and a few questions, without data sets."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.workload import Questions, Workload

Make = Callable[..., Candidate]


@pytest.fixture
def make() -> Make:
    """A candidate whose calls last a second for each token, unless told otherwise."""

    def candidate(name: str = "small", **changed: float) -> Candidate:
        usual = {
            "hosted": False, "slots": 1, "first_token_s": 0.0, "prompt_tokens_per_s": float("inf"), "token_s": 1.0, "slowdown": 0.0
        }  # fmt: skip
        return Candidate(name=name, label=name[:3], **{**usual, **changed})  # type: ignore[arg-type]

    return candidate


@pytest.fixture
def fleet(make: Make) -> list[Candidate]:
    """The candidates of the tiny bundle."""
    return [make("small", slots=2), make("medium", slots=2, hosted=True, limit_per_s=100.0), make("large", slots=2)]


@pytest.fixture
def questions() -> Questions:
    """Four; the third candidate never answered the last one."""
    quality = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, np.nan]], np.float64)
    tokens = np.array([[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, np.nan]], np.float64)
    texts = ["what is the capital", "cook rice", "prove the theorem", "refactor the function"]
    return Questions(texts, np.full(4, 10.0), quality, tokens, np.full(3, 1e-6), np.array([1e-6, 2e-6, 3e-6]))


@pytest.fixture
def workload() -> Callable[..., Workload]:
    """A request for each time, asking the questions in turn."""

    def made(*arrivals: float, questions: int = 4) -> Workload:
        asked = np.arange(len(arrivals)) % questions
        return Workload(np.array(arrivals, np.float64), asked, float(max(arrivals)))

    return made

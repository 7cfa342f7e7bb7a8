"""Perturbations change the dress and leave the question."""

import numpy as np
import pytest

from export.choices import Forecast, ground
from export.outcomes import Outcomes
from export.prices import Price
from export.robustness import PERTURBATIONS, compare, typos

TEXT = "What is the capital of a country?\nA. a city\nB. a river near the mountains " * 4


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_perturbation_changes_the_text_and_is_seeded(name: str) -> None:
    perturb = PERTURBATIONS[name]
    first, again = (perturb(TEXT, np.random.default_rng(1)) for _ in range(2))
    assert first == again != TEXT


@pytest.mark.parametrize("name", ["upper case", "title case", "white space"])
def test_case_and_space_keep_every_word(name: str) -> None:
    assert PERTURBATIONS[name](TEXT, np.random.default_rng(0)).lower().split() == TEXT.lower().split()


def test_instructions_stand_around_the_question() -> None:
    changed = PERTURBATIONS["instructions"](TEXT, np.random.default_rng(0))
    assert TEXT in changed
    assert not changed.startswith(TEXT)


def test_typos_are_few_and_inside_words() -> None:
    words = "several ordinary words without anything special about them " * 50
    changed = typos(words, np.random.default_rng(0)).split()
    wrong = [(a, b) for a, b in zip(words.split(), changed, strict=True) if a != b]
    assert 0.04 < len(wrong) / len(changed) < 0.12
    assert all(a[0] == b[0] and abs(len(a) - len(b)) <= 1 for a, b in wrong)


def test_comparison_by_hand() -> None:
    rows = 4
    outcomes = Outcomes(
        prompts=("p",) * rows,
        candidates=("a", "b"),
        quality=np.array([[1, 0]] * rows, np.float32),
        output_tokens=np.full((rows, 2), 100.0, np.float32),
        prompt_tokens=np.zeros(rows, np.float32),
        segments=np.full(rows, ""),
        sources=np.full(rows, ""),
        groups=np.arange(rows),
        contaminated=np.zeros(rows, np.bool_),
        sha256="0" * 64,
    )
    basis = ground(outcomes, [Price(0.0, 0.0)] * 2, np.zeros(2, np.float32))

    def forecast(quality: list[list[float]]) -> Forecast:
        values = np.array(quality, np.float32)
        return Forecast(values, values, np.zeros_like(values), values, np.zeros(rows, np.float32))

    plain = forecast([[0.9, 0.1], [0.9, 0.1], [0.5, 0.499], [0.9, 0.1]])
    other = forecast([[0.9, 0.1], [0.9, 0.1], [0.4, 0.5], [0.1, 0.9]])
    assert compare(basis, plain, other, 1.0) == {
        "same_choice": 0.5,
        "same_or_close": 0.75,
        "utility_change": pytest.approx(-0.5),
    }

"""Does the same question in another dress get the same decision?"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from export.choices import Forecast, Ground

# One word in so many gets a typing error.
WORDS_PER_TYPO = 12
# Utilities this close, relative to the better one, are the same to whoever pays.
CLOSE = 0.01

_WORD = re.compile(r"[A-Za-z]{4,}")
_KEYS = "abcdefghijklmnopqrstuvwxyz"
_OPENINGS = (
    "Please answer the following question.\n\n",
    "Here is a question for you:\n",
    "I need help with this one. ",
    "Read carefully and pick the right option.\n\n",
    "Can you solve this?\n\n",
)
_CLOSINGS = (
    "\n\nReply with the letter only.",
    "\n\nExplain your reasoning first, then give the answer.",
    "\nThink step by step.",
    " Thanks!",
    "\n\nKeep the explanation short.",
)

Perturbation = Callable[[str, np.random.Generator], str]


def typos(text: str, rng: np.random.Generator) -> str:
    """Swaps, drops, doubles or replaces a letter inside one word of twelve."""

    def mistyped(match: re.Match[str]) -> str:
        word = match[0]
        if rng.random() >= 1.0 / WORDS_PER_TYPO:
            return word
        at = int(rng.integers(1, len(word) - 1))
        kinds = (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + _KEYS[int(rng.integers(len(_KEYS)))] + word[at + 1 :],
        )
        return kinds[int(rng.integers(len(kinds)))]

    return _WORD.sub(mistyped, text)


def upper_case(text: str, _: np.random.Generator) -> str:
    """All capitals."""
    return text.upper()


def title_case(text: str, _: np.random.Generator) -> str:
    """Every word with a capital."""
    return text.title()


def white_space(text: str, rng: np.random.Generator) -> str:
    """Other white space between words, and around the whole."""
    kinds = (" ", "  ", "\n", "\t", " \n ")
    words = text.split()
    gaps = rng.integers(len(kinds), size=len(words))
    return "\n " + "".join(word + kinds[gap] for word, gap in zip(words, gaps, strict=True))


def instructions(text: str, rng: np.random.Generator) -> str:
    """The same question between other instructions."""
    opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
    return opening + text + _CLOSINGS[int(rng.integers(len(_CLOSINGS)))]


PERTURBATIONS: dict[str, Perturbation] = {
    "typos": typos,
    "upper case": upper_case,
    "title case": title_case,
    "white space": white_space,
    "instructions": instructions,
}


def compare(ground: Ground, plain: Forecast, perturbed: Forecast, answer_value_usd: float) -> dict[str, Any]:
    """Compares the choices for prompts and for the same prompts perturbed.

    Args:
        ground: recorded outcomes of the prompts.
        plain: what the router expects of them.
        perturbed: what it expects of the perturbed ones.
        answer_value_usd: of the policy.

    Returns:
        `same_choice`: share of prompts. `same_or_close`: share whose choice is the same, or by the unperturbed
        forecast worth as much within one percent. `utility_change`: of the mean utility by recorded quality and cost,
        relative.
    """
    before, after = ground.choose(plain, answer_value_usd), ground.choose(perturbed, answer_value_usd)
    expected = answer_value_usd * plain.quality - ground.cost
    rows = np.arange(len(before))
    close = expected[rows, after] >= expected[rows, before] - CLOSE * np.abs(expected[rows, before])
    utility = [answer_value_usd * ground.quality_of(c).mean() - ground.cost_of(c).mean() for c in (before, after)]
    return {
        "same_choice": float((before == after).mean()),
        "same_or_close": float(((before == after) | close).mean()),
        "utility_change": float(utility[1] / utility[0] - 1.0),
    }

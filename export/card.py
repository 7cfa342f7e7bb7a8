"""The model card, and the texts of the golden vectors (our own words)."""

from typing import TYPE_CHECKING

import numpy as np

from export.outcomes import Outcomes
from sidecar.bundle.manifest import TrainingData

if TYPE_CHECKING:
    from export.bundle import Label
    from export.router import Router, Training

GOLDEN_TEXTS = (
    "Hello",
    "What is the boiling point of water on top of a high mountain, and why does it change?",
    "Write a short, friendly note to the team about Friday's lunch.",
    "A train leaves at 9:40 and arrives at 13:05. It stops for 12 minutes on the way. How long does it move?",
    "Which of these best describes opportunity cost?\nA. money already spent\nB. the best thing given up\nC. a tax",
    "Prove that the sum of two odd integers is even, then say for which rings the claim still holds.",
    "def mean(xs): return sum(xs) / len(xs)  # why does this fail for an empty list, and what would you return?",
    "A patient of 54 years has had chest pain for two hours that spreads to the left arm. What should be done first?",
    "Compare how two empires of your choice taxed their farmers. Keep it under 200 words.",
    "Balance the equation: Fe2O3 + CO -> Fe + CO2. Then name what is reduced.",
    "Wie spät ist es in Lissabon, wenn es in Berlin Mittag ist?",
    "x^2 - 5x + 6 = 0; solve for x",
    "the the the the the the the the",
    "qzxv wkjh 0x7f3a ~~~ |||| ;;;; zzzzyx",
)


def model_card(label: "Label", data: TrainingData, outcomes: Outcomes, trained: "Router", options: "Training") -> str:
    """What the router is, what it learned from and what it must not be trusted with."""
    labelled = float((~np.isnan(outcomes.quality)).mean())
    without = [name for name, tokens in zip(outcomes.candidates, trained.mean_tokens, strict=True) if not tokens]
    lengths = (
        "Expected answer lengths are learned."
        if not without
        else f"Answer lengths of {', '.join(without)} are unknown; a usual length stands for them."
    )
    segments = ", ".join(name for name in data.segments if name) or "none named"
    return " ".join(
        part
        for part in (
            f"{trained.family.capitalize()} router over {len(outcomes.candidates)} candidates, trained by this project's exporter.",
            trained.about,
            f"Data: {label.source} ({label.licence}); {data.rows} prompts, {labelled:.0%} of the labels known;"
            f" segments: {segments}.",
            "Quality is the calibrated probability that a candidate's answer is acceptable by the data's own standard.",
            lengths,
            f"It reads at most {options.recipe.max_chars} characters of what the user asked.",
            "Prompts unlike the training data are scored near each candidate's mean: watch the novelty of your traffic,"
            " and measure on your own outcomes before you trust it.",
            label.limits,
        )
        if part
    )

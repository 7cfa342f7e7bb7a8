"""Microseconds that bundles take to score a request, on the machine that this runs on."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from sidecar.types import Score

SIZES = (1, 32)
WARM_UP = 3
MOST_ROUNDS = 2000
# Fewer say nothing of the slowest in a hundred.
ENOUGH_FOR_P99 = 100

Progress = Callable[[], object]


def microseconds(
    scorers: Sequence[tuple[Score, Sequence[str]]],
    seconds: float,
    clock: Callable[[], float] = perf_counter,
    sizes: Sequence[int] = SIZES,
) -> list[dict[str, Mapping[str, Any]]]:
    """Times tokenizer, model and novelty of several bundles in turn, round by round, so that drift meets all alike.

    Args:
        scorers: each with windows of the same prompts, cut by its own recipe.
        seconds: for each batch size, all bundles together.
        clock: monotonic seconds.
        sizes: of the batches.

    Returns:
        For each scorer by batch size: median and p99 per request (None in under 100 rounds), and the rounds.
    """
    found: list[dict[str, Mapping[str, Any]]] = [{} for _ in scorers]
    for size in sizes:
        spent: list[list[float]] = [[] for _ in scorers]
        for score, windows in scorers:
            for number in range(WARM_UP):
                score(_batch(windows, number, size))
        began, number = clock(), WARM_UP
        while number < WARM_UP + MOST_ROUNDS and (number == WARM_UP or clock() - began < seconds):
            order = range(len(scorers)) if number % 2 else reversed(range(len(scorers)))
            for which in order:
                score, windows = scorers[which]
                batch = _batch(windows, number, size)
                start = clock()
                score(batch)
                spent[which].append(clock() - start)
            number += 1
        for entry, times in zip(found, spent, strict=True):
            entry[str(size)] = _figures(np.array(times) / size * 1e6)
    return found


def _batch(windows: Sequence[str], number: int, size: int) -> list[str]:
    start = number * size
    return [windows[(start + row) % len(windows)] for row in range(size)]


def _figures(times: Any) -> Mapping[str, Any]:
    return {
        "median": round(float(np.median(times)), 2),
        "p99": round(float(np.quantile(times, 0.99)), 2) if len(times) >= ENOUGH_FOR_P99 else None,
        "rounds": len(times),
    }

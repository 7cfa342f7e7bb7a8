"""What calls take, from outcomes: time to the first token, time for each token after it, time for the whole answer.

Every process keeps sums that decay with time, so that the estimate of all of them follows from adding the sums up. As the
evidence decays, the estimate goes back to what is configured, and where nothing is, to unknown.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.columns import (
    COLUMNS,
    FIRST_N,
    FIRST_SQUARES,
    FIRST_SUM,
    LATENCY_AT,
    SERVICE_N,
    SERVICE_SUM,
    TOKENS,
    TOKENS_N,
    TOKENS_SUM,
)
from sidecar.fleet.outcome import Outcome

Column = NDArray[np.float64]

# Less than so much of one outcome says nothing any more.
FAINT = 0.01


class Evidence(NamedTuple):
    """Decayed sums of all processes, each [C]; the order is that of the columns.

    Attributes:
        first_n: outcomes that stated the time to the first token.
        first_sum: its sum in seconds.
        first_squares: the sum of its squares.
        tokens: output tokens after the first.
        tokens_sum: the seconds that they took.
        tokens_n: outcomes that stated both.
        service_n: outcomes that stated the time for the whole answer.
        service_sum: its sum in seconds.
    """

    first_n: Column
    first_sum: Column
    first_squares: Column
    tokens: Column
    tokens_sum: Column
    tokens_n: Column
    service_n: Column
    service_sum: Column


def observe(
    cells: "memoryview[float]", row: int, outcome: Outcome, wait_seconds: float, now: float, half_life_s: float
) -> None:
    """Adds a successful outcome to a row's sums.

    Args:
        cells: the rows as flat numbers.
        row: the candidate's.
        outcome: what was measured.
        wait_seconds: what the queue model had expected the call to wait. It is taken off, so that model and measurement
            together give what was measured, and the wait does not count twice.
        now: monotonic seconds.
        half_life_s: in which the weight of a measurement halves.
    """
    base = row * COLUMNS
    decay = 2.0 ** ((cells[base + LATENCY_AT] - now) / half_life_s)
    if decay < 1.0:
        for column in range(base + FIRST_N, base + SERVICE_SUM + 1):
            cells[column] *= decay
        cells[base + LATENCY_AT] = now
    first, whole, tokens = outcome.first_token_seconds, outcome.latency_seconds, outcome.output_tokens
    if _sound(first):
        net = max(0.0, first - wait_seconds)
        cells[base + FIRST_N] += 1.0
        cells[base + FIRST_SUM] += net
        cells[base + FIRST_SQUARES] += net * net
    if _sound(whole):
        cells[base + SERVICE_N] += 1.0
        cells[base + SERVICE_SUM] += max(0.0, whole - wait_seconds)
        if 0.0 <= first <= whole and 1.0 < tokens < math.inf:
            cells[base + TOKENS] += tokens - 1.0
            cells[base + TOKENS_SUM] += whole - first
            cells[base + TOKENS_N] += 1.0


def merge(block: NDArray[np.float64], now: float, half_life_s: float) -> Evidence:
    """Adds up all processes' sums as of now.

    Args:
        block: [W, C, COLUMNS].
        now: monotonic seconds.
        half_life_s: in which the weight of a measurement halves.
    """
    decay = np.exp2(np.minimum(block[:, :, LATENCY_AT] - now, 0.0) / half_life_s)
    sums = np.einsum("wc,wck->kc", decay, block[:, :, FIRST_N : SERVICE_SUM + 1])
    return Evidence(*sums)


def blend(*parts: tuple[Column, Column]) -> tuple[Column, Column]:
    """The weighted mean of several estimates, and its weight; nan and 0 where there is none.

    Args:
        parts: weights [C] and weighted sums [C] of each; a weight below FAINT is none.
    """
    weight = np.zeros_like(parts[0][0])
    total = np.zeros_like(weight)
    for part_weight, part_sum in parts:
        counts = part_weight >= FAINT
        weight += np.where(counts, part_weight, 0.0)
        total += np.where(counts, part_sum, 0.0)
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0.0), weight


def _sound(seconds: float) -> bool:
    return 0.0 <= seconds < math.inf

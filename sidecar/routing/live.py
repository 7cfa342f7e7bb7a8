"""What is known of the candidates' load at the moment of a decision."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sidecar.routing.candidates import CandidateTable, Column, Mask

NOBODY_BARRED: Mapping[str, Mask] = {}


class Live(NamedTuple):
    """The fleet as one batch of decisions sees it; every part is [C], in the bundle's output order.

    Attributes:
        wait: seconds until a call that is sent now begins to be worked on.
        step: by how many seconds one more call makes the next one wait longer.
        first_token_seconds: from then until the first token; what others need on average where nothing is known.
        seconds_per_token: for each token of the answer; likewise.
        known: whether the two are known, from measurements or from the configuration.
        blocked: may not be chosen: its breaker is open, it cools down, or its budget is used up.
        share: of the requests that may choose it, in [0, 1]; below 1 while it comes back after a failure.
        recovery: seconds until it is expected to be chosen again; 0 where it is not blocked.
        blur: seconds by which the waits may be wrong: candidates that are closer than this are as good as each other.
        barred: by segment, who may not be chosen for it since its budget is used up.
    """

    wait: Column
    step: Column
    first_token_seconds: Column
    seconds_per_token: Column
    known: Mask
    blocked: Mask
    share: Column
    recovery: Column
    blur: float = 0.0
    barred: Mapping[str, Mask] = NOBODY_BARRED


def at_rest(table: CandidateTable) -> Live:
    """A fleet of which only the configuration is known, and where nobody waits."""
    count = len(table)
    zeros = np.zeros(count)
    known = table.latency_known
    return Live(
        wait=zeros,
        step=zeros,
        first_token_seconds=usual(table.first_token_seconds, known),
        seconds_per_token=usual(table.seconds_per_token, known),
        known=known,
        blocked=np.zeros(count, np.bool_),
        share=np.ones(count),
        recovery=zeros,
    )


def usual(figures: Column, known: Mask) -> Column:
    """The figures, with the mean of the known ones where one is not known: unknown is neither fast nor slow."""
    return np.where(known, figures, figures[known].mean() if known.any() else 0.0)

"""What a batch of decisions sees of the fleet."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sidecar.fleet.closed import Closed
from sidecar.fleet.view import Fleet
from sidecar.routing.candidates import CandidateTable, Column, Mask

Barred = Callable[[str], Closed | None]  # by segment: whose budget is used up; None where nobody's is


class Live(NamedTuple):
    """The fleet at the moment of a batch.

    Attributes:
        fleet: all candidates, in the bundle's output order.
        barred: whose budget is used up for a segment; None where there are no budgets.
        blur: seconds by which the expected seconds may be wrong: candidates that are no further apart are as good as each
            other.
        congestion: how many seconds of everybody's a second of waiting for a turn costs, its own among them; 1 or more.
    """

    fleet: Fleet
    barred: Barred | None = None
    blur: float = 0.0
    congestion: float = 1.0


def at_rest(table: CandidateTable) -> Live:
    """A fleet of which only the configuration is known, and where nobody waits."""
    count, known = len(table), table.latency_known
    zeros, infinite, nobody = np.zeros(count), np.full(count, np.inf), np.zeros(count, np.bool_)
    return Live(
        Fleet(
            wait_seconds=zeros,
            first_token_seconds=usual(table.first_token_seconds, known),
            seconds_per_token=usual(table.seconds_per_token, known),
            in_flight=zeros,
            slots=infinite,
            backlog=-infinite,
            step_seconds=zeros,
            crowd=1.0,
            open=nobody,
            quota=infinite,
            share=np.ones(count),
            recovery_seconds=zeros,
            known=known,
            uncertainty=zeros,
            plain=True,
        )
    )


def usual(figures: Column, known: Mask) -> Column:
    """[C] the figures, with the mean of the known ones where one is not known: unknown is neither fast nor slow."""
    return np.where(known, figures, figures[known].mean() if known.any() else 0.0)

"""Who decides, if not the sidecar: what gateways do that know nothing of the prompt, and what it would do blindly."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.fleet.gateway import Gateway

# The floor of those who do not look at the prompt: candidates whose mean quality on the training data is at most this
# much below the best one's. Lower, and they lose quality; higher, and the best one is alone.
FLOOR = 0.10


class Policy(Protocol):
    """Ranks the candidates for a question."""

    def rank(self, question: int, gateway: Gateway) -> Sequence[int]:
        """Candidates in the order in which they are to be tried."""
        ...


def good_enough(prior_quality: Sequence[float]) -> list[int]:
    """The candidates above the floor."""
    floor = max(prior_quality) - FLOOR
    return [index for index, quality in enumerate(prior_quality) if quality >= floor]


class Recorded:
    """Decisions that were made before: whoever cannot see the load decides alike whenever asked.

    Args:
        rankings: by question.
    """

    def __init__(self, rankings: Sequence[Sequence[int]]) -> None:
        self._rankings = rankings

    def rank(self, question: int, gateway: Gateway) -> Sequence[int]:  # noqa: ARG002 - it does not look
        """See Policy."""
        return self._rankings[question]


class RoundRobin:
    """Every candidate in turn.

    Args:
        among: the candidates above the floor.
        answerable: [N, C] who can be chosen for a question.
    """

    def __init__(self, among: Sequence[int], answerable: NDArray[np.bool_]) -> None:
        self._turn = 0
        self._among = list(among)
        self._answerable = answerable

    def rank(self, question: int, gateway: Gateway) -> Sequence[int]:  # noqa: ARG002 - it does not look
        """See Policy."""
        turn, self._turn = self._turn, (self._turn + 1) % len(self._among)
        turned = self._among[turn:] + self._among[:turn]
        return [index for index in turned if self._answerable[question, index]]


class LeastInFlight:
    """The candidate with the smallest share of its slots taken, as a weighted least-request balancer takes it.

    The gateway's own count is exact here, which flatters this policy: several gateways would each see their own part.

    Args:
        among: the candidates above the floor.
        answerable: [N, C] who can be chosen for a question.
    """

    def __init__(self, among: Sequence[int], answerable: NDArray[np.bool_]) -> None:
        self._among = list(among)
        self._answerable = answerable
        self._turn = 0

    def rank(self, question: int, gateway: Gateway) -> Sequence[int]:
        """See Policy; ties go round."""
        self._turn += 1
        servers = gateway.servers
        able = [index for index in self._among if self._answerable[question, index]]
        return sorted(
            able,
            key=lambda index: (
                servers[index].in_flight / servers[index].candidate.slots,
                (index + self._turn) % len(servers),
            ),
        )

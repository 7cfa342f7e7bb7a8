"""What budgets that are used up close to a segment."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Refusal(NamedTuple):
    """Why a candidate is not even a last resort.

    Attributes:
        budget: name of the one that refuses; of several, the one that opens last.
        wait_seconds: until it opens.
        opens_unix: when that is, in Unix seconds.
    """

    budget: str
    wait_seconds: float
    opens_unix: float


class Closed(NamedTuple):
    """What a segment may not choose, each [C].

    Attributes:
        exhausted: some budget that covers the segment and the candidate is used up.
        recovery_seconds: until none is; 0 where none is.
        refused: one of these refuses: where nothing else is left, the request gets no answer.
        refusals: by which; None where none does.
        names: of the budgets that are used up.
    """

    exhausted: NDArray[np.bool_]
    recovery_seconds: NDArray[np.float64]
    refused: NDArray[np.bool_]
    refusals: tuple[Refusal | None, ...]
    names: tuple[str, ...]

"""Which candidates may be chosen, as far as breakers, cool-downs and rate limits are concerned."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pick = slice | NDArray[np.intp]


class Admission(NamedTuple):
    """Each [n].

    Attributes:
        open: may not be chosen.
        quota: most calls that may still go there until the next merge; inf where there is no limit.
        share: of the requests that may choose it at all, 0 to 1.
        recovery_seconds: until it may be chosen again, as far as that is known; 0 where it may.
        plain: whether nothing is in anybody's way.
    """

    open: NDArray[np.bool_]
    quota: NDArray[np.float64]
    share: NDArray[np.float64]
    recovery_seconds: NDArray[np.float64]
    plain: bool

    @classmethod
    def of_all(cls, amount: int) -> "Admission":
        """Nobody is kept away."""
        return cls(np.zeros(amount, np.bool_), np.full(amount, np.inf), np.ones(amount), np.zeros(amount), plain=True)

    def pick(self, rows: Pick) -> "Admission":
        """Of some rows."""
        return Admission(
            self.open[rows], self.quota[rows], self.share[rows], self.recovery_seconds[rows], plain=self.plain
        )

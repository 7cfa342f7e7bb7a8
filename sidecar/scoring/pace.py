"""How much of a model's work fits into one run, learned from what runs took."""

from typing import NamedTuple

# How much the latest run counts.
LEARNING_RATE = 0.1


class Limits(NamedTuple):
    """What the runs of an encoder may take.

    Attributes:
        rows: most of one run.
        seconds: that one run should take at most.
        threads: that a run on the CPU may use.
    """

    rows: int = 32
    seconds: float = 0.05
    threads: int = 1


LIMITS = Limits()


class Pace:
    """Written by the thread that runs the model; any other may look.

    A constant bound on the batch would be wrong nearly everywhere: 32 rows are a millisecond on a GPU, and half a second
    of nothing but waiting on one core.

    Args:
        limits: what a run may take.
    """

    def __init__(self, limits: Limits) -> None:
        self._most_rows = limits.rows
        self._most_s = limits.seconds
        self._token_s = 0.0
        self._row_s = 0.0

    def learn(self, rows: int, tokens: int, seconds: float) -> None:
        """Takes what a run of so many rows, with so many tokens in all, took."""
        self._token_s = _toward(self._token_s, seconds / tokens)
        self._row_s = _toward(self._row_s, seconds / rows)

    def forget(self) -> None:
        """Another device runs the model from now on."""
        self._token_s = self._row_s = 0.0

    @property
    def rows(self) -> int:
        """Rows of the usual length that fit into one run; at least one."""
        if self._row_s * self._most_rows <= self._most_s:
            return self._most_rows
        return max(1, int(self._most_s / self._row_s))

    def fits(self, rows: int, tokens: int) -> bool:
        """Whether so many rows, with so many tokens in all, may be run together."""
        return rows <= self._most_rows and tokens * self._token_s <= self._most_s


def _toward(mean: float, value: float) -> float:
    return mean + (value - mean) * LEARNING_RATE if mean else value

"""A bound on how much of one thread's time a costly courtesy may take."""

from collections.abc import Callable


class Allowance:
    """A share of the time, saved up while it is not used (a token bucket in seconds).

    Args:
        share: of the time, in [0, 1].
        saved_s: most seconds of use that are saved up.
        clock: monotonic seconds.
    """

    def __init__(self, share: float, saved_s: float, clock: Callable[[], float]) -> None:
        self._share = share
        self._most_s = self._left_s = saved_s
        self._clock = clock
        self._at = clock()

    def open(self) -> bool:
        """True if some is left."""
        now = self._clock()
        self._left_s = min(self._most_s, self._left_s + (now - self._at) * self._share)
        self._at = now
        return self._left_s > 0.0

    def spend(self, seconds: float) -> None:
        """Takes seconds of use off; one use may go into debt, which closes it until the debt is saved up again."""
        self._left_s -= seconds

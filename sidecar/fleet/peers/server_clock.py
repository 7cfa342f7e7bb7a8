"""What time it is on the server, whose clock all sidecars of a group know."""

# Two clocks drift apart by less than this share.
DRIFT = 1e-3


class ServerClock:
    """Follows the server's clock by what it says and by how long that took (Cristian, 1989).

    It said so between question and answer, so the middle is off by half of that time at most. A reading that is less
    certain than what is known already, and agrees with it, teaches nothing.

    Attributes:
        ahead_s: by which the server's clock is ahead of ours; meaningless before `known`.
        known: whether it has been read.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.known = False
        self._error_s = 0.0
        self._read_at = 0.0

    def read(self, server: float, asked: float, answered: float) -> None:
        """The server was asked.

        Args:
            server: what it said.
            asked: when, monotonic seconds.
            answered: when the answer was there.
        """
        ahead_s, error_s = server - (asked + answered) / 2.0, (answered - asked) / 2.0
        known_s = self._error_s + DRIFT * (answered - self._read_at)
        if not self.known or error_s <= known_s or abs(ahead_s - self.ahead_s) > error_s + known_s:
            self.ahead_s, self._error_s, self._read_at, self.known = ahead_s, error_s, answered, True

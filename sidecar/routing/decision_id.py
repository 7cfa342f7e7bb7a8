"""Names for decisions: unique across processes, sortable by time, cheap."""

import secrets
from collections.abc import Callable, Iterator
from itertools import count


class DecisionIds:
    """Makes ids of 32 hexadecimal digits: 12 of Unix milliseconds, 10 of this process, 10 of a running number.

    The layout follows the idea of UUIDv7 (RFC 9562): time first, so that ids sort and index well. Uniqueness rests on
    the 40 random bits of the process together with its running number, not on the clock.
    """

    def __init__(self, unix_seconds: Callable[[], float], process: int | None = None) -> None:
        self._unix_seconds = unix_seconds
        self._process = f"{secrets.randbits(40) if process is None else process:010x}"
        self._numbers = count()

    def take(self, amount: int) -> Iterator[str]:
        """As many new ids, all of the present millisecond."""
        prefix = f"{int(self._unix_seconds() * 1000):012x}{self._process}"
        for _ in range(amount):
            yield f"{prefix}{next(self._numbers):010x}"

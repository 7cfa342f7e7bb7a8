"""A closed loop that runs for minutes, until somebody else is done: of each call only a few numbers are kept.

benchmarks.offered.closed_loop keeps every reply, which is more than memory holds for millions of calls.
"""

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import OK, UNANSWERED, Client
from benchmarks.offered import GIVE_UP_S, Clock, steady
from benchmarks.schedule import Seconds

LOOK_S = 0.05


@dataclass(frozen=True)
class Calls:
    """N calls, in the order in which they ended. Times are readings of the clock.

    Attributes:
        sent: [N] when each was handed to the client.
        done: [N] when its reply was read.
        status: [N] gRPC status numbers, or UNANSWERED.
        mark: [N] what `mark_of` said of the reply; 0 where there is none.
    """

    sent: Seconds
    done: Seconds
    status: NDArray[np.int64]
    mark: NDArray[np.int64]

    @property
    def took_s(self) -> Seconds:
        """[N] from sent to done."""
        return self.done - self.sent


def long_loop(
    client: Client,
    payloads: Sequence[bytes],
    in_flight: int,
    busy: Callable[[], bool],
    mark_of: Callable[[bytes], int],
    *,
    clock: Clock = time.perf_counter,
    give_up_s: float = GIVE_UP_S,
) -> Calls:
    """Keeps `in_flight` calls in flight as long as `busy()`; then waits for the replies that are missing.

    Args:
        client: makes the calls.
        payloads: used in turn.
        in_flight: how many.
        busy: asked every LOOK_S seconds.
        mark_of: makes a small number of a good reply's bytes.
        clock: the one that replies are stamped with.
        give_up_s: how long missing replies are waited for at the end.
    """
    sent, done, status, mark = array("d"), array("d"), array("B"), array("B")
    pending: dict[int, float] = {}
    variety, count = len(payloads), 0

    def begin() -> None:
        nonlocal count
        pending[count] = clock()
        client.send(payloads[count % variety], count)
        count += 1

    with steady():
        for _ in range(in_flight):
            begin()
        going, look, end = True, clock(), 0.0
        while pending and (going or clock() < end):
            for reply in client.wait(LOOK_S):
                sent.append(pending.pop(reply.key))
                done.append(reply.at)
                status.append(reply.status)
                mark.append(mark_of(reply.body) if reply.status == OK else 0)
                if going:
                    begin()
            if going and (now := clock()) >= look:
                look, end = now + LOOK_S, now + give_up_s
                going = busy()
    for at in pending.values():
        sent.append(at)
        done.append(clock())
        status.append(UNANSWERED)
        mark.append(0)
    times = [np.array(kept, np.float64) for kept in (sent, done)]
    numbers = [np.array(kept, np.int64) for kept in (status, mark)]
    return Calls(times[0], times[1], numbers[0], numbers[1])

"""An open loop for more calls than a client can make one by one: each connection sends what is due in one piece.

Like benchmarks.offered it sends each call when it is due, whatever became of earlier ones. Deadlines, cancelled calls and
the bound of streams are as with a real client (see benchmarks.pipe).
"""

import select
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.client import UNANSWERED
from benchmarks.offered import SPIN_S, steady
from benchmarks.pipe import Pipe, Record
from benchmarks.samples import Samples
from benchmarks.schedule import Seconds
from benchmarks.stencil import Numbers, Stencil

# After the last deadline replies are still read for so long.
GIVE_UP_S = 1.0


class Flooded(NamedTuple):
    """A run.

    Attributes:
        samples: of all calls.
        reconnects: how often the server ended a connection.
    """

    samples: Samples
    reconnects: int


def flood(
    address: str,
    method: str,
    schedule: Seconds,
    payloads: Sequence[bytes],
    over: Numbers,
    *,
    deadline_s: float,
    choice: Numbers | None = None,
    spin_s: float = SPIN_S,
) -> Flooded:
    """Makes the calls.

    Args:
        address: HOST:PORT.
        method: `/package.Service/Method`.
        schedule: [N] seconds from the start, ascending.
        payloads: see Stencil.
        over: [N] the number of the connection that each call goes over, from 0 on.
        deadline_s: of each call.
        choice: see Stencil.
        spin_s: how long before a call is due the generator stops sleeping; 0 where it shares its core.
    """
    count = len(schedule)
    record = Record(
        schedule,
        np.zeros(count),
        np.full(count, np.nan),
        np.full(count, np.nan),
        np.full(count, UNANSWERED),
        [b""] * count,
    )
    stencil = Stencil(method, address, payloads, choice)
    pipes = [
        Pipe(address, stencil, record, np.flatnonzero(over == number), deadline_s)
        for number in range(int(over.max()) + 1)
    ]
    clock = time.perf_counter
    try:
        with steady():
            start = clock()
            end = float(schedule[-1]) + deadline_s + GIVE_UP_S
            while any(pipe.missing for pipe in pipes) and clock() - start < end:
                _step(pipes, start, spin_s)
            elapsed = clock() - start
    finally:
        for pipe in pipes:
            pipe.close()
    record.done[np.isnan(record.done)] = elapsed
    samples = Samples(schedule, record.sent, record.done, record.status, record.bodies, elapsed, record.written)
    return Flooded(samples, sum(pipe.reconnects for pipe in pipes))


def _step(pipes: Sequence[Pipe], start: float, spin_s: float) -> None:
    """Waits until something is due or has come, and deals with it."""
    clock = time.perf_counter
    _punctual(pipes, clock() - start)
    wake = min(pipe.next_event for pipe in pipes) - spin_s
    by_socket = {pipe.socket: pipe for pipe in pipes}
    writing = [pipe.socket for pipe in pipes if pipe.wants_to_write]
    patience = min(1.0, max(0.0, wake - (clock() - start)))
    readable, writable, _ = select.select(list(by_socket), writing, [], patience)
    for ready in writable:
        by_socket[ready].flush()
    for ready in readable:
        pipe = by_socket[ready]
        pipe.read(start)
        pipe.advance(clock() - start)
        _punctual(pipes, clock() - start)


def _punctual(pipes: Sequence[Pipe], now: float) -> None:
    for pipe in pipes:
        if pipe.next_event <= now:
            pipe.advance(now)

"""How many connections each worker has, in memory that all processes of the sidecar share.

All are 64-bit integers. While a worker is replaced two processes have one number, so what a process writes it writes into
one of two slots. Each word has one writer, so that none needs a lock, and a store of 8 aligned bytes is not seen in halves:

    process  [worker]                    id of the process that serves, 0 while none does     the supervisor
    pid      [worker, slot]              the process that has this slot                       that process
    open     [worker, slot]              its open connections                                 that process
    sent     [sender, worker]            connections this sender ever sent to this worker     the sender
    taken    [receiver, sender, worker]  `sent` as it came with the last one received         the receiver

Senders are the slots of all workers, and the supervisor; receivers of a worker's connections are its two slots, and the
supervisor. They receive from one queue, in order, so the highest `taken` tells how far it is read, and

    load = open of the process that serves + sum over senders of (sent - highest taken)

counts a connection from just before it is sent, whether or not its new worker has looked yet. What the death of a process
between two of these steps leaves wrong is right again after the next connection from the same sender.
"""

import itertools
import mmap
import os
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

FILE = "connections"
SLOTS = 2
# Among the receivers, what the supervisor takes out of the queue of a worker that is down.
SUPERVISOR = 2
RECEIVERS = 3
# A worker that has not yet looked at so many gets no more from workers that can serve them: it may hang.
MOST_COMING = 4
# Of so many workers the supervisor, which starts without numpy, can add up what is coming by itself, in 30 us. For more it
# imports numpy once one of them is down.
FEW = 4


class ConnectionTable:
    """The connections of all workers; made by the first process that opens it.

    Args:
        runtime: directory of the sidecar's processes.
        workers: how many the sidecar has, the same for each process.

    Attributes:
        supervisor: the supervisor's number among the senders.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, runtime: Path, workers: int) -> None:
        self.supervisor = SLOTS * workers
        senders = self.supervisor + 1
        shapes = (
            (workers,),
            (workers, SLOTS),
            (workers, SLOTS),
            (senders, workers),
            (RECEIVERS, senders, workers),
        )
        ends = list(itertools.accumulate(prod(shape) for shape in shapes))
        descriptor = os.open(runtime / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, ends[-1] * 8)
            words = memoryview(mmap.mmap(descriptor, ends[-1] * 8))
        finally:
            os.close(descriptor)
        self._workers = workers
        rows = words[8 * ends[2] :].cast("q")
        self._counts = [rows[senders * workers * at : senders * workers * (at + 1)] for at in range(1 + RECEIVERS)]
        parts = [
            words[8 * begin : 8 * end].cast("q", shape)
            for begin, end, shape in zip([0, *ends], ends, shapes, strict=False)
        ]
        self._process, self._pid, self._open, self._sent, self._taken = parts

    def begin(self, worker: int, process: int) -> int:
        """A new process of this worker publishes from now on; gives its slot, which is not that of the one that serves."""
        serves = self._process[worker]
        slot = int(serves != 0 and self._pid[worker, 0] == serves)
        self._open[worker, slot] = 0
        self._pid[worker, slot] = process
        return slot

    def sender(self, worker: int, slot: int) -> int:
        """The number among the senders of the process that has this slot."""
        return SLOTS * worker + slot

    def set_process(self, worker: int, process: int) -> None:
        """Which process serves; 0 is none. For the supervisor."""
        self._process[worker] = process

    def publish(self, worker: int, slot: int, connections: int) -> None:
        """The process with this slot has so many open connections."""
        self._open[worker, slot] = connections

    def coming(self) -> list[int]:
        """Connections that were sent to each worker and not received so far, by worker."""
        return self._few_coming() if self._workers <= FEW else self._many_coming()

    def _few_coming(self) -> list[int]:
        coming = [0] * self._workers
        for at, (sent, *taken) in enumerate(zip(*[counts.tolist() for counts in self._counts], strict=True)):
            if sent not in taken:
                coming[at % self._workers] += max(0, sent - max(taken))
        return coming

    def _many_coming(self) -> list[int]:
        sent, taken = self._arrays
        coming: list[int] = (sent - taken.max(axis=0)).clip(0).sum(axis=0).tolist()
        return coming

    @cached_property
    def _arrays(self) -> "tuple[Integers, Integers]":
        import numpy as np  # noqa: PLC0415 - see FEW

        return np.asarray(self._sent), np.asarray(self._taken)

    def loads(self) -> list[int]:
        """Connections that each worker has or is about to have, by worker; -1 while it does not serve."""
        return self._loads(self.coming())

    def _loads(self, coming: list[int]) -> list[int]:
        loads = [-1] * len(coming)
        slots: list[list[list[int]]] = [self._pid.tolist(), self._open.tolist()]  # type: ignore[list-item]  # of two dimensions
        rows = zip(self._process.tolist(), *slots, strict=True)
        for worker, (process, pids, connections) in enumerate(rows):
            if process and process in pids:
                loads[worker] = connections[pids.index(process)] + coming[worker]
        return loads

    def serving(self) -> list[int]:
        """The workers that serve, from the lowest load to the highest."""
        return [worker for load, worker in sorted(zip(self.loads(), itertools.count(), strict=False)) if load >= 0]

    def lighter(self, own: int, connections: int) -> list[int]:
        """The workers with fewer connections than one of them, from the lowest load to the highest.

        Args:
            own: this one; what is on its way to it counts too.
            connections: that it has.

        Returns:
            Those that look at what they are sent.
        """
        coming = self.coming()
        here = connections + coming[own]
        loads = sorted(zip(self._loads(coming), itertools.count(), strict=False))
        return [worker for load, worker in loads if 0 <= load < here and coming[worker] < MOST_COMING and worker != own]

    def note_sent(self, sender: int, worker: int) -> int:
        """This sender is about to send a connection to this worker; gives the number that it has to bring along."""
        self._sent[sender, worker] += 1
        return self._sent[sender, worker]

    def note_kept(self, sender: int, worker: int) -> None:
        """It could not be sent."""
        self._sent[sender, worker] -= 1

    def note_taken(self, worker: int, receiver: int, sender: int, number: int) -> None:
        """The connection with this number was received; if by a worker, it has one more open from now on."""
        # In this order, so that the load is never too low; one too high does no harm.
        if receiver != SUPERVISOR:
            self._open[worker, receiver] += 1
        self._taken[receiver, sender, worker] = number

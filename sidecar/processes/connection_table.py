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

import mmap
import os
from pathlib import Path

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
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        descriptor = os.open(runtime / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, int(ends[-1]) * 8)
            words = np.frombuffer(mmap.mmap(descriptor, int(ends[-1]) * 8), np.int64)
        finally:
            os.close(descriptor)
        parts = [part.reshape(shape) for part, shape in zip(np.split(words, ends[:-1]), shapes, strict=True)]
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

    def coming(self) -> Integers:
        """Connections that were sent to each worker and not received so far, [worker]."""
        waiting: Integers = np.maximum(self._sent - self._taken.max(axis=0), 0).sum(axis=0)
        return waiting

    def loads(self) -> Integers:
        """Connections that each worker has or is about to have, [worker]; -1 while it does not serve."""
        published = (self._pid == self._process[:, None]) & (self._process != 0)[:, None]
        loads: Integers = (self._open * published).sum(axis=1) + self.coming()
        return np.where(published.any(axis=1), loads, -1)

    def others(self, own: int, below: int | None = None) -> list[int]:
        """The workers that serve, from the lowest load to the highest.

        Args:
            own: a worker that is left out; -1 is none.
            below: only those with a load of less than that which look at what they are sent; None is all.
        """
        loads = self.loads()
        meant = loads >= 0
        if below is not None:
            meant &= (loads < below) & (self.coming() < MOST_COMING)
        if own >= 0:
            meant[own] = False
        (found,) = meant.nonzero()
        ordered: list[int] = found[loads[found].argsort(kind="stable")].tolist()
        return ordered

    def note_sent(self, sender: int, worker: int) -> int:
        """This sender is about to send a connection to this worker; gives the number that it has to bring along."""
        self._sent[sender, worker] += 1
        return int(self._sent[sender, worker])

    def note_kept(self, sender: int, worker: int) -> None:
        """It could not be sent."""
        self._sent[sender, worker] -= 1

    def note_taken(self, worker: int, receiver: int, sender: int, number: int) -> None:
        """The connection with this number was received; if by a worker, it has one more open from now on."""
        # In this order, so that the load is never too low; one too high does no harm.
        if receiver != SUPERVISOR:
            self._open[worker, receiver] += 1
        self._taken[receiver, sender, worker] = number

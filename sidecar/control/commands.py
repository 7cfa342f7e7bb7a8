"""What workers are told to do in a swap, and how long they may take over it."""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

from sidecar.control.messages import Done, Prepare, Sample, State, Switch, Target
from sidecar.control.workers import MakeCommand, Worker, WorkerGone, Workers
from sidecar.errors import Aborted
from sidecar.routing.recorded import Recorded

log = logging.getLogger(__name__)

PREPARE_S = 120.0
SAMPLE_S = 5.0
SWITCH_S = 5.0

P99 = tuple[float, float]  # in seconds: before the swap, and meanwhile


class Commands:
    """Has workers carry out the steps of a swap.

    Args:
        workers: those that are connected.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def states(self) -> list[State]:
        """What each says that it runs; those that do not answer are left out."""
        done = await _ask_all(list(self._workers), lambda number: Sample(number, 0), SAMPLE_S)
        return [each.state for each in done if isinstance(each, Done)]

    async def sample(self, amount: int) -> tuple[Recorded, ...]:
        """So many of the latest requests, at most."""
        workers = list(self._workers)
        if not amount or not workers:
            return ()
        done = await _ask_all(workers, lambda number: Sample(number, amount), SAMPLE_S)
        samples = [one.sample[::-1] for one in done if isinstance(one, Done)]
        # In turn from each worker, the newest first, since some may have had little traffic.
        mixed = [recorded for turn in zip_longest(*samples) for recorded in turn if recorded is not None]
        return tuple(mixed[:amount])

    async def prepare(self, target: Target) -> set[int]:
        """Has all workers load a bundle; also those that come while others load. Gives their pids.

        Raises:
            Aborted: one of them cannot.
        """
        prepared: set[int] = set()
        while unprepared := [worker for worker in self._workers if worker.pid not in prepared]:
            found = await _ask_all(unprepared, lambda number: Prepare(number, target), PREPARE_S)
            for worker, done in zip(unprepared, found, strict=True):
                fault = str(done) if isinstance(done, WorkerGone) else done.error
                if fault:
                    raise Aborted(
                        f"worker {worker.number} cannot load {target.directory}: {fault}; nothing is changed."
                    )
                prepared.add(worker.pid)
        return prepared

    def forget(self, state: State) -> None:
        """Has all workers drop what is not in this state, which they run."""
        for worker in self._workers:
            worker.tell(Switch(0, state, SWITCH_S))

    async def switch(self, after: State, workers: Sequence[Worker], prepared: set[int]) -> tuple[float, P99]:
        """Has workers switch, and kills those that do not; gives the seconds that it took, and the worst p99.

        Args:
            after: what they are to run.
            workers: which.
            prepared: pids of those that have loaded it.
        """
        began = time.monotonic()
        found = await asyncio.gather(
            *(_hand_over(worker, after, prepared=worker.pid in prepared) for worker in workers)
        )
        p99_s: list[P99] = []
        for worker, done in zip(workers, found, strict=True):
            if isinstance(done, Done) and not done.error:
                p99_s.append(done.p99_s)
            else:
                log.error("worker %d did not switch and is replaced: %s", worker.number, done)
                await worker.kill()
        worst = max(p99_s, key=lambda pair: pair[1], default=(0.0, 0.0))
        return time.monotonic() - began, worst


async def _hand_over(worker: Worker, after: State, *, prepared: bool) -> Done | WorkerGone:
    try:
        for target in () if prepared else (after.running, after.canary):
            if target is not None:
                await worker.ask(partial(Prepare, target=target), PREPARE_S)
        return await worker.ask(lambda number: Switch(number, after, SWITCH_S), 2 * SWITCH_S + 1)
    except WorkerGone as gone:
        return gone


async def _ask_all(workers: Sequence[Worker], make: MakeCommand, patience_s: float) -> list[Done | WorkerGone]:
    async def ask(worker: Worker) -> Done | WorkerGone:
        try:
            return await worker.ask(make, patience_s)
        except WorkerGone as gone:
            return gone

    return list(await asyncio.gather(*map(ask, workers)))

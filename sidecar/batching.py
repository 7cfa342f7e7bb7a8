"""Collects what arrived while the last batch ran, and brings every answer back to its request.

There is no timer: the lane adds whatever has arrived, and flushes when for a moment nothing more is there. At low load a
request is a batch of its own and waits for nobody; at high load batches grow by themselves.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from sidecar.faults import place

log = logging.getLogger(__name__)

Job = TypeVar("Job")
Answer = TypeVar("Answer")
Deliver = Callable[[Any, Answer], None]  # (the job's key, its answer)


class Batcher(Generic[Job, Answer]):
    """Pairs jobs with where their answers go.

    Not safe for use from several threads: it belongs to the lane's thread.

    Args:
        answer: answers a batch, in order; must not raise.
        limit: most jobs of one batch.
    """

    def __init__(self, answer: Callable[[Sequence[Job]], Sequence[Answer]], limit: int) -> None:
        self._answer = answer
        self._limit = limit
        self._jobs: list[Job] = []
        self._tickets: list[tuple[Deliver[Answer], Any]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def full(self) -> bool:
        """Whether a flush would fill at least one batch."""
        return len(self._jobs) >= self._limit

    def add(self, job: Job, deliver: Deliver[Answer], key: Any) -> None:
        """Takes a job; `deliver(key, answer)` will be called once, from within flush."""
        self._jobs.append(job)
        self._tickets.append((deliver, key))

    def flush(self) -> None:
        """Answers all that is waiting, in the order in which it came. Deliveries may add new jobs; these wait."""
        jobs, self._jobs = self._jobs, []
        tickets, self._tickets = self._tickets, []
        for start in range(0, len(jobs), self._limit):
            stop = start + self._limit
            for (deliver, key), answer in zip(tickets[start:stop], self._answer(jobs[start:stop]), strict=True):
                try:
                    deliver(key, answer)
                except Exception as error:  # noqa: BLE001 - one caller must not cost the others their answers
                    log.error("an answer could not be delivered; the others are: %s", place(error))  # noqa: TRY400

"""What becomes of the requests that were taken: they are answered, shed or forgotten, or their deadline passes."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil

from sidecar.coverage import Coverage
from sidecar.errors import Expired, Overloaded, RouterError
from sidecar.faults import place
from sidecar.lanes.flight import Flight, Job, by_engine
from sidecar.lanes.lane import Encoded

log = logging.getLogger(__name__)

EXPIRED = Expired("the deadline passed before the request's turn came; give it a longer one.")
LATEST_BATCHES = 2048
# Waits are told to refused callers in steps of so many seconds.
WAIT_STEP_S = 0.005


class Drops:
    """Requests that got no decision of their own, since the start; written by the transport's thread alone."""

    __slots__ = ("cancelled", "expired", "invalid", "shed")

    def __init__(self) -> None:
        self.invalid = self.shed = self.expired = self.cancelled = 0


class Answers:
    """Gives the batcher its answers. Belongs to the transport's thread.

    Args:
        coverage: the one that the engines count in.
        clock: monotonic seconds.

    Attributes:
        ahead: whether batches may be begun, to be answered later.
        batches: the latest ones: when each ended, the seconds since its first request arrived, its size.
        drops: requests that got no decision of their own.
    """

    def __init__(self, coverage: Coverage, clock: Callable[[], float]) -> None:
        self.ahead = False
        self.batches: deque[tuple[float, float, int]] = deque(maxlen=LATEST_BATCHES)
        self.drops = Drops()
        self._coverage = coverage
        self._clock = clock

    def answer(self, jobs: Sequence[Job]) -> list[Encoded] | Flight:
        """Answers a batch, or begins to."""
        if self.ahead and any(engine.ahead is not None for engine, _ in jobs):
            return Flight(jobs, self._landed)
        first, ask = jobs[0]
        try:
            if all(engine is first for engine, _ in jobs):
                replies = first.answer([ask for _, ask in jobs])
            else:
                replies = _answer_each(jobs)
        except Exception as error:  # noqa: BLE001 - the callers get it as a status
            return _unanswered(jobs, error)
        ended = self._clock()
        self.batches.append((ended, ended - ask.arrived, len(jobs)))
        return replies

    def _landed(self, jobs: Sequence[Job], answers: Callable[[], list[Encoded]]) -> list[Encoded]:
        try:
            replies = answers()
        except Exception as error:  # noqa: BLE001 - the callers get it as a status
            return _unanswered(jobs, error)
        ended = self._clock()
        self.batches.append((ended, ended - jobs[0][1].arrived, len(jobs)))
        return replies

    def degrade(self, job: Job, _wait_s: float) -> Encoded:
        """Sheds a request: the safe candidate answers."""
        engine, ask = job
        self.drops.shed += 1
        return engine.degrade(ask)

    def reject(self, job: Job, wait_s: float) -> Encoded:
        """Sheds a request: its caller may try again after wait_s seconds."""
        self.drops.shed += 1
        self._coverage.unscored(job[1].segment)
        return Overloaded(wait_s)

    def expire(self, job: Job) -> Encoded:
        """Its deadline has passed."""
        self.drops.expired += 1
        self._coverage.unscored(job[1].segment)
        return EXPIRED

    def forget(self, _job: Job | None = None) -> None:
        """Its caller is gone."""
        self.drops.cancelled += 1

    def expire_unread(self, segment: str | None) -> RouterError:
        """A message was not parsed, since it could not have been answered before its deadline.

        Args:
            segment: None if it is none that coverage counts.
        """
        self.drops.expired += 1
        if segment is not None:
            self._coverage.unscored(segment)
        return EXPIRED

    def reject_unread(self, segment: str | None, wait_s: float, messages: int = 1) -> RouterError:
        """Messages are turned away unparsed; their callers may try again after wait_s seconds."""
        self.drops.shed += messages
        if segment is not None:
            self._coverage.unscored(segment, messages)
        return _overloaded(ceil(wait_s / WAIT_STEP_S))


@lru_cache(maxsize=256)
def _overloaded(steps: int) -> Overloaded:
    """The same error for about the same wait: under overload making it would cost more than all else."""
    return Overloaded(steps * WAIT_STEP_S)


def _unanswered(jobs: Sequence[Job], error: Exception) -> list[Encoded]:
    log.error("a batch of %d requests could not be answered: %s", len(jobs), place(error))
    return [RouterError("the sidecar failed to answer; its log says why.")] * len(jobs)


def _answer_each(jobs: Sequence[Job]) -> list[Encoded]:
    """Answers a batch of several engines, in its order."""
    answers: list[Encoded] = [b""] * len(jobs)
    for engine, rows, asks in by_engine(jobs):
        for row, reply in zip(rows, engine.answer(asks), strict=True):
            answers[row] = reply
    return answers

"""Collects what arrived while the last batch ran, within bounds, and brings every answer back to its request.

There is no timer: the transport adds whatever has arrived, and flushes when for a moment nothing more is there. At low load a
request is a batch of its own and waits for nobody; at high load batches grow by themselves.

Where more waits than one batch takes, three rules hold:

- *Nobody waits in vain.* A job is turned away at once if its wait, predicted from what is ahead of it and from how fast
  batches have been answered, is over the queue's budget or would not end before its caller's deadline.
- *Nobody starves.* Segments take turns, one job each, and where the queue is full the longest segment gives up its
  oldest job (longest queue drop; Suter et al., IEEE JSAC 17(6), 1999).
- *Nobody works for the dead.* Jobs whose caller hung up, or whose deadline passed, are dropped before they are answered.
- *Newest first.* Beyond two batches the newest job of a segment is taken first (see sidecar.engine.admission, where calls
  wait before they are parsed; what waits here came in calls of many items).

Where answering is another thread's work (an encoder), a batch is only begun here, and landed at a later flush; what comes
meanwhile waits here, where all of this holds for it.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from sidecar.faults import place

log = logging.getLogger(__name__)

Job = TypeVar("Job")
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
Deliver = Callable[[Any, Answer], None]  # (the job's key, its answer)

# How much the latest batch counts in the estimate of a job's time.
LEARNING_RATE = 0.2
# The first batches of a process are slow: caches are cold, and it may have to share the core with others that start.
ENOUGH_BATCHES = 8
# So many batches may wait before the newest job is taken first.
FIFO_BATCHES = 2


class Caller(Protocol):
    """Who waits for an answer.

    Attributes:
        gone: hung up.
        expires: when an answer is of no more use, in Unix seconds; inf if it always is.
    """

    @property
    def gone(self) -> bool: ...  # noqa: D102 - said above
    @property
    def expires(self) -> float: ...  # noqa: D102 - said above

    def waker(self) -> Callable[[], None]:
        """A function that any thread may call, and somebody will call once, so that there is a flush soon."""
        ...

    def resume(self, then: Callable[[], None], /) -> Callable[[], None]:
        """As waker; instead of a flush, the transport's thread does `then`."""
        ...


class Ahead(Protocol):
    """How much may be begun before the answers to earlier batches are there.

    Attributes:
        most: jobs of one batch.
        room: jobs that may be begun now.
    """

    @property
    def most(self) -> int: ...  # noqa: D102 - said above
    @property
    def room(self) -> int: ...  # noqa: D102 - said above


class Begun(Protocol[Answer_co]):
    """A batch whose answers come later.

    Attributes:
        done: whether they are there.
    """

    @property
    def done(self) -> bool: ...  # noqa: D102 - said above

    def then(self, wake: Callable[[], None]) -> None:
        """Calls `wake` once when it is done, from any thread."""
        ...

    def answers(self) -> Sequence[Answer_co]:
        """The answers, in order; must not raise."""
        ...


class Bounds(NamedTuple):
    """How much may wait.

    Attributes:
        batch: most jobs of one batch.
        waiting: most jobs that may wait.
        wait_s: longest predicted wait, in seconds until a job's batch begins.
    """

    batch: int
    waiting: int = 1024
    wait_s: float = math.inf


class _Flight(NamedTuple):
    """A batch that was begun."""

    batch: list[Any]
    begun: Any
    began: float


class Batcher(Generic[Job, Answer]):
    """Pairs jobs with where their answers go.

    Not safe for use from several threads: it belongs to the transport's thread.

    Args:
        answer: answers a batch, in order, or begins to; must not raise.
        bounds: how much may wait.
        clock: monotonic seconds.
        unix: Unix seconds, for deadlines.
        shed: the answer to a job that is turned away, given how many seconds it would have had to wait.
        expire: the answer to a job whose deadline has passed.
        forget: told of each job whose caller is gone.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Job]], list[Answer] | Begun[Answer]],
        bounds: Bounds,
        *,
        clock: Callable[[], float],
        unix: Callable[[], float],
        shed: Callable[[Job, float], Answer],
        expire: Callable[[Job], Answer],
        forget: Callable[[Job], None] = lambda _job: None,
    ) -> None:
        self._ahead: Ahead | None = None
        self._answer = answer
        self._most = self._limit = bounds.batch
        self._most_waiting = max(bounds.waiting, bounds.batch)
        self._most_wait_s = bounds.wait_s
        self._clock = clock
        self._unix = unix
        self._shed = shed
        self._expire = expire
        self._forget = forget
        # By segment, in the order in which they take turns. Segments of which nothing waits are not in it.
        self._lines: dict[str, deque[tuple[Job, Deliver[Answer], Any, Caller]]] = {}
        self._waiting = 0
        self._flights: deque[_Flight] = deque()
        self._flying = 0
        self._batches = 0
        self._job_s = 0.0  # of the answering alone
        self._cycle_s = 0.0  # from the end of a full batch to that of the next
        self._ended: float | None = None  # of the latest batch, if more waited then

    def __len__(self) -> int:
        return self._waiting + self._flying

    @property
    def ready(self) -> bool:
        """Whether a flush would do anything."""
        if self._ahead is None and not self._flying:
            return self._waiting > 0
        return self._landed() or (self._waiting > 0 and (self._ahead is None or self._ahead.room > 0))

    @property
    def flying_since(self) -> float | None:
        """Clock reading when the oldest batch was begun that is not landed; None if there is none."""
        flights = self._flights
        try:
            return flights[0].began
        except IndexError:
            return None

    @property
    def room(self) -> int:
        """Jobs that may be added before what waits fills a batch; 0 or less if it does."""
        return self._limit - self._waiting

    @property
    def flight_s(self) -> float:
        """Seconds until a batch would be landed that was begun now; 0 where batches are answered at once."""
        return 0.0 if self._ahead is None else (self._flying + self._limit) * self._job_s

    @property
    def soonest_s(self) -> float:
        """Seconds in which a job that came now would be answered at best: with the next batch.

        0 where nothing waits: what was measured may be out of date, and only trying tells.
        """
        if not self._waiting or self._batches < ENOUGH_BATCHES:
            return 0.0
        return min(self._waiting + 1, self._limit) * self._job_s

    def jobs(self) -> Iterator[Job]:
        """All that wait, or were begun and are not landed."""
        yield from (entry[0] for line in self._lines.values() for entry in line)
        yield from (entry[0] for flight in self._flights for entry in flight.batch)

    @property
    def ahead(self) -> Ahead | None:
        """How much may be begun; None where batches are answered at once."""
        return self._ahead

    @ahead.setter
    def ahead(self, ahead: Ahead | None) -> None:
        self._ahead = ahead
        self._limit = self._most
        self._adapt()

    def _adapt(self) -> None:
        if self._ahead is not None:
            self._limit = max(1, min(self._ahead.most, self._most))

    def add(self, job: Job, deliver: Deliver[Answer], key: Any, caller: Caller, segment: str = "") -> None:
        """Takes a job; `deliver(key, answer)` will be called once, from within flush, or at once if it is turned away.

        If the caller is gone by then, it may not be called at all.
        """
        line = self._lines.get(segment)
        if (self._waiting >= self._limit or caller.expires != math.inf) and not self._admit(
            job, deliver, key, caller, line
        ):
            return
        if line is None:
            line = self._lines[segment] = deque()
        line.append((job, deliver, key, caller))
        self._waiting += 1

    def flush(self) -> None:
        """Answers one batch of what is waiting. Deliveries may add new jobs; these wait."""
        if self._flying:
            self._land()
        batch = self._take()
        if not batch:
            if not self._flying:
                self._ended = None
            return
        began = self._clock()
        answers = self._answer([entry[0] for entry in batch])
        if not isinstance(answers, list):
            self._flights.append(_Flight(batch, answers, began))
            self._flying += len(batch)
            answers.then(batch[0][3].waker())
            return
        for (_, deliver, key, _), answer in zip(batch, answers, strict=True):
            _deliver(deliver, key, answer)
        self._learn(len(batch), began, self._clock())

    def _landed(self) -> bool:
        return bool(self._flights) and self._flights[0].begun.done

    def _land(self) -> None:
        """Delivers the answers that have come, in the order in which their batches were begun."""
        while self._landed():
            batch, begun, began = self._flights[0]
            answers = begun.answers()
            self._flights.popleft()
            self._flying -= len(batch)
            for (_, deliver, key, _), answer in zip(batch, answers, strict=True):
                _deliver(deliver, key, answer)
            self._adapt()
            ended = self._clock()
            # While it was tokenised another one ran: what counts is the time between two that end.
            self._learn_flight(len(batch), ended - (began if self._ended is None else max(began, self._ended)))
            self._ended = ended if self._flying else None

    def _learn_flight(self, size: int, seconds: float) -> None:
        self._batches += 1
        each = seconds / size
        if not self._job_s or (size < self._limit and each < self._job_s):  # see _learn
            self._job_s = each
        elif size >= self._limit:
            self._job_s += (each - self._job_s) * LEARNING_RATE
        self._cycle_s = self._limit * self._job_s

    def _learn(self, size: int, began: float, ended: float) -> None:
        self._batches += 1
        each = (ended - began) / size
        if size < self._limit:
            if not self._job_s or each < self._job_s:
                self._job_s = each  # small batches are dearer by the job, so they bound the estimate from above
        else:
            self._job_s += (each - self._job_s) * (LEARNING_RATE if self._job_s else 1.0)
            # While jobs wait, the time between two batches counts too: the transport takes in others then.
            cycle_s = ended - (began if self._ended is None else self._ended)
            self._cycle_s += (cycle_s - self._cycle_s) * (LEARNING_RATE if self._cycle_s else 1.0)
        self._ended = ended if self._waiting else None

    def _admit(
        self,
        job: Job,
        deliver: Deliver[Answer],
        key: Any,
        caller: Caller,
        line: "deque[tuple[Job, Deliver[Answer], Any, Caller]] | None",
    ) -> bool:
        """Whether a job may wait; if not, it is answered."""
        mine = len(line) if line else 0
        segments = len(self._lines) + (line is None)
        ahead = min(self._waiting, mine * segments)
        wait_s = 0.0
        if self._batches >= ENOUGH_BATCHES:
            wait_s = ahead // self._limit * max(self._cycle_s, self._limit * self._job_s) + self._flying * self._job_s
        if caller.expires != math.inf:
            left = caller.expires - self._unix()
            if left <= 0.0:
                _deliver(deliver, key, self._expire(job))
                return False
            if wait_s + self.soonest_s > left:
                _deliver(deliver, key, self._shed(job, wait_s))
                return False
        if wait_s > self._most_wait_s or (self._waiting >= self._most_waiting and not self._make_room(mine)):
            _deliver(deliver, key, self._shed(job, wait_s))
            return False
        return True

    def _make_room(self, mine: int) -> bool:
        """Turns away the oldest job of the longest line, if that is longer than a line of `mine` jobs and one more."""
        longest = max(self._lines.values(), key=len)
        if len(longest) <= mine + 1:
            return False
        job, deliver, key, _ = longest.popleft()
        self._waiting -= 1
        _deliver(deliver, key, self._shed(job, self._waiting / self._limit * self._cycle_s))
        return True

    def _take(self) -> list[tuple[Job, Deliver[Answer], Any, Caller]]:
        """The next batch: what is left of it when the dead are gone."""
        lines, limit = self._lines, self._limit
        if self._ahead is not None:
            limit = min(limit, self._ahead.room)
        now = math.nan
        newest = self._waiting > FIFO_BATCHES * self._limit
        batch: list[tuple[Job, Deliver[Answer], Any, Caller]] = []
        while lines and len(batch) < limit:
            segment, line = next(iter(lines.items()))
            # One segment alone, or one batch for all: nobody's turn comes later for it.
            share = limit - len(batch) if len(lines) == 1 or self._waiting <= limit - len(batch) else 1
            for _ in range(min(share, len(line))):
                entry = line.pop() if newest else line.popleft()
                self._waiting -= 1
                job, deliver, key, caller = entry
                if caller.gone:
                    self._forget(job)
                elif caller.expires != math.inf and caller.expires <= (now := now if now == now else self._unix()):  # noqa: PLR0124 - not a number until it is asked for
                    _deliver(deliver, key, self._expire(job))
                else:
                    batch.append(entry)
            del lines[segment]
            if line:
                lines[segment] = line  # its next turn comes after all others'
        return batch


def _deliver(deliver: Deliver[Answer], key: Any, answer: Answer) -> None:
    try:
        deliver(key, answer)
    except Exception as error:  # noqa: BLE001 - one caller must not cost the others their answers
        log.error("an answer could not be delivered; the others are: %s", place(error))  # noqa: TRY400

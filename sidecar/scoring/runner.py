"""The thread that runs an encoder, so that the transport's can tokenise and reply meanwhile."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

from sidecar.scoring.pace import Pace
from sidecar.scoring.ragged import Outputs, Rows
from sidecar.types import Floats

Result = TypeVar("Result")


class Ticket:
    """The place of one batch in a Runner's queue.

    Attributes:
        rows: of token ids.
        tokens: in all.
        done: whether it was run, or could not be.
        seconds: that its run took.
    """

    __slots__ = ("_ended", "_outputs", "_wakes", "done", "error", "rows", "seconds", "tokens")

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.tokens = sum(map(len, rows))
        self.done = False
        self.seconds = 0.0
        self.error: Exception | None = None
        self._outputs: Outputs | None = None
        self._ended = threading.Event()
        self._wakes: list[Callable[[], None]] = []

    def then(self, wake: Callable[[], None]) -> None:
        """Calls `wake` once when it is done, from the Runner's thread; at once, from this one, if it is done already."""
        self._wakes.append(wake)
        if self.done:
            self._wake()

    def outputs(self) -> Outputs:
        """What the model gave; waits for it. Raises what the model raised."""
        self._ended.wait()
        if self.error is not None:
            raise self.error
        assert self._outputs is not None  # noqa: S101 - done without an error
        return self._outputs

    def end(self, outputs: Outputs | None, error: Exception | None, seconds: float) -> None:
        """It was run."""
        self._outputs, self.error, self.seconds = outputs, error, seconds
        self.done = True
        self._ended.set()
        self._wake()

    def _wake(self) -> None:
        # Both threads may come here at once: whoever takes it out calls it.
        try:
            wake = self._wakes.pop()
        except IndexError:
            return
        wake()


class Runner:
    """Runs batches one after the other, in a thread that ends with this object.

    What waits when the model gets free is run together, as far as `pace` allows.

    Args:
        infer: runs rows.
        pace: how much fits into one run; learns.
        clock: monotonic seconds.
    """

    def __init__(self, infer: Callable[[Rows], Outputs], pace: Pace, clock: Callable[[], float] = perf_counter) -> None:
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        work = threading.Thread(target=_work, args=(self._inbox, infer, pace, clock), name="runner", daemon=True)
        work.start()
        weakref.finalize(self, self._inbox.put, None)

    def submit(self, rows: Rows) -> Ticket:
        """Puts a batch at the end of the queue."""
        ticket = Ticket(rows)
        self._inbox.put(ticket)
        return ticket

    def call(self, work: Callable[[], Result]) -> Result:
        """Has the thread do something else between two runs, and waits for it. Raises what it raises."""
        future: Future[Result] = Future()
        self._inbox.put((future, work))
        return future.result()


def _work(inbox: "SimpleQueue[Any]", infer: Callable[[Rows], Outputs], pace: Pace, clock: Callable[[], float]) -> None:
    left: list[Any] = []  # what was taken out and did not fit
    while (first := left.pop() if left else inbox.get()) is not None:
        if isinstance(first, Ticket):
            _run(_together(first, inbox, left, pace), infer, pace, clock)
        else:
            _call(*first)
        del first  # it may be all that keeps a bundle


def _together(first: Ticket, inbox: "SimpleQueue[Any]", left: list[Any], pace: Pace) -> list[Ticket]:
    """The batches that are run together: the first, and those behind it that fit."""
    batches, rows, tokens = [first], len(first.rows), first.tokens
    while True:
        try:
            following = inbox.get_nowait()
        except Empty:
            return batches
        if not isinstance(following, Ticket):
            left.append(following)
            return batches
        rows, tokens = rows + len(following.rows), tokens + following.tokens
        if not pace.fits(rows, tokens):
            left.append(following)
            return batches
        batches.append(following)


def _run(batches: list[Ticket], infer: Callable[[Rows], Outputs], pace: Pace, clock: Callable[[], float]) -> None:
    began = clock()
    try:
        quality, embedding, output_tokens = infer([row for batch in batches for row in batch.rows])
    except Exception as error:  # noqa: BLE001 - whoever asked for it learns it
        for batch in batches:
            batch.end(None, error, clock() - began)
        return
    seconds = clock() - began
    pace.learn(len(quality), max(1, sum(batch.tokens for batch in batches)), seconds)
    at = 0
    for batch in batches:
        end = at + len(batch.rows)
        part: tuple[Floats, Floats, Floats] = quality[at:end], embedding[at:end], output_tokens[at:end]
        batch.end(part, None, seconds)
        at = end


def _call(future: "Future[Any]", work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever asked for it learns it
        future.set_exception(error)

"""A batch that was begun: some other thread runs the model, the transport's own decides and replies when it is done.

Deciding stays with the transport's thread. It is Python, which two threads cannot run at once, and so everything that it
writes (tallies, coverage, buffers of replies) has one writer.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count

from sidecar.lanes.engine import Engine
from sidecar.lanes.lane import Encoded
from sidecar.routing.ask import Ask
from sidecar.types import Pending, ScoreAhead

Job = tuple[Engine, Ask]
Land = Callable[[Sequence[Job], Callable[[], list[Encoded]]], list[Encoded]]


def by_engine(jobs: Sequence[Job]) -> Iterator[tuple[Engine, list[int], list[Ask]]]:
    """The jobs of each engine: where they stand in the batch, and what they ask."""
    for engine in dict.fromkeys(engine for engine, _ in jobs):
        rows = [row for row, (owner, _) in enumerate(jobs) if owner is engine]
        yield engine, rows, [jobs[row][1] for row in rows]


class _Part:
    """The jobs of one engine: where they stand in the batch, and what was begun; None if that failed or is not needed."""

    __slots__ = ("asks", "engine", "pending", "rows")

    def __init__(self, engine: Engine, rows: Sequence[int], asks: Sequence[Ask]) -> None:
        self.engine = engine
        self.rows = rows
        self.asks = asks
        self.pending: Pending | None = engine.begin(asks)

    def answers(self) -> list[Encoded]:
        if self.pending is None:
            return self.engine.answer(self.asks)
        return self.engine.finish(self.asks, self.pending)


class Flight:
    """See batching.Begun.

    Args:
        jobs: the batch.
        land: given the batch and how to have its answers, gives them whatever happens.
    """

    def __init__(self, jobs: Sequence[Job], land: Land) -> None:
        self._jobs = jobs
        self._land = land
        self._parts = [_Part(*part) for part in by_engine(jobs)]
        self._awaited = [part.pending for part in self._parts if part.pending is not None]

    @property
    def done(self) -> bool:
        """Whether nothing need be waited for."""
        return all(pending.done for pending in self._awaited)

    def then(self, wake: Callable[[], None]) -> None:
        """Calls `wake` once when it is done, from any thread."""
        if not self._awaited:
            wake()
            return
        ended, last = count(1), len(self._awaited)

        def one() -> None:
            if next(ended) == last:  # one step for the interpreter: no two threads get the same number
                wake()

        for pending in self._awaited:
            pending.then(one)

    def answers(self) -> list[Encoded]:
        """The answers, in order."""
        return self._land(self._jobs, self._answers)

    def _answers(self) -> list[Encoded]:
        answers: list[Encoded] = [b""] * len(self._jobs)
        for part in self._parts:
            for row, reply in zip(part.rows, part.answers(), strict=True):
                answers[row] = reply
        return answers


class Slowest:
    """How much may be begun where several bundles are at work.

    Args:
        scorers: of those that score in two phases; at least one.
    """

    def __init__(self, scorers: Sequence[ScoreAhead]) -> None:
        self._scorers = scorers

    @property
    def most(self) -> int:
        """See batching.Ahead."""
        return min(scorer.most for scorer in self._scorers)

    @property
    def room(self) -> int:
        """See batching.Ahead."""
        return min(scorer.room for scorer in self._scorers)

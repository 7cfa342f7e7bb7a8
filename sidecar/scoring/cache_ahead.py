"""The score cache before a scorer that works in two phases: the next batch is looked up while one is in the model."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count

from sidecar.scoring.cache import Lookup, ScoreCache
from sidecar.types import Pending, Score, ScoreAhead, Scores


class Shared:
    """What the scorer has begun, for several batches to wait for: the scorer itself wakes one only.

    Args:
        begun: by the scorer.
    """

    __slots__ = ("_fired", "_wakes", "begun")

    def __init__(self, begun: Pending) -> None:
        self.begun = begun
        self._fired = False
        self._wakes: list[Callable[[], None]] = []
        begun.then(self._fire)

    @property
    def done(self) -> bool:
        """Whether ending it needs no waiting."""
        return self.begun.done

    def then(self, wake: Callable[[], None]) -> None:
        """Calls `wake` once when it is done, from any thread."""
        self._wakes.append(wake)
        if self._fired:
            self._fire()

    def _fire(self) -> None:
        self._fired = True
        with suppress(IndexError):  # two threads may be here at once: whoever takes one out calls it
            while True:
                self._wakes.pop()()


class Looked:
    """A batch that was looked up: done when all is that it waits for, its own texts and those of others that it shares.

    Args:
        lookup: the batch.
    """

    __slots__ = ("_awaited", "lookup")

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        parts = dict.fromkeys((lookup, *(other for _, _, other, _ in lookup.joined)))
        self._awaited: list[Shared] = [part.begun for part in parts if part.begun is not None]

    @property
    def done(self) -> bool:
        """Whether finishing it needs no waiting."""
        return all(begun.done for begun in self._awaited)

    def then(self, wake: Callable[[], None]) -> None:
        """Calls `wake` once when it is done, from any thread."""
        if not self._awaited:
            wake()
            return
        ended, last = count(1), len(self._awaited)

        def one() -> None:
            if next(ended) == last:  # one step for the interpreter: no two threads get the same number
                wake()

        for begun in self._awaited:
            begun.then(one)


class ScoreCacheAhead(ScoreCache):
    """As ScoreCache; a text that a batch in flight is having scored is not scored again.

    Each `begin` is followed by its `finish`, in any order, in the same thread.

    Args:
        score: scores what is not known.
        candidates: C, columns of the scores.
        max_bytes: of the table.
        dimensions: of the embeddings that are kept too; 0 keeps none.
    """

    def __init__(self, score: ScoreAhead, candidates: int, max_bytes: int, dimensions: int = 0) -> None:
        super().__init__(score, candidates, max_bytes, dimensions)
        self._start = lambda texts: Shared(score.begin(texts))
        self._end = lambda shared: score.finish(shared.begun)
        self._score = score

    @property
    def most(self) -> int:
        """As the scorer's: any text may turn out to be unknown."""
        return self._score.most

    @property
    def room(self) -> int:
        """As the scorer's."""
        return self._score.room

    def begin(self, texts: Sequence[str]) -> Looked:
        """Looks a batch up, and begins to score what is not known."""
        return Looked(self._begin(texts))

    def finish(self, looked: Looked) -> Scores:
        """The scores of a batch that was begun."""
        return self._finish(looked.lookup)


def remembering(score: Score, candidates: int, max_bytes: int, dimensions: int = 0) -> ScoreCache:
    """A score cache before a scorer, in as many phases as it has."""
    if hasattr(score, "begin"):
        return ScoreCacheAhead(score, candidates, max_bytes, dimensions)  # type: ignore[arg-type]  # seen just now
    return ScoreCache(score, candidates, max_bytes, dimensions)

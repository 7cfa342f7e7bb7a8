"""The shapes that cross the seams of the core.

Shapes are written [B, C]: B requests of one batch, C candidates in the bundle's output order.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Turn(NamedTuple):
    """One turn of a conversation, its text parts joined."""

    role: str
    text: str


class Window(NamedTuple):
    """The text that is scored, and the kind of envelope that was peeled off it (empty if there was none)."""

    text: str
    envelope: str


class Scores(NamedTuple):
    """What a bundle says of a batch.

    Attributes:
        quality: [B, C] calibrated probability in [0, 1] that the candidate's answer is acceptable; already shrunk
            toward the candidates' priors by novelty.
        output_tokens: [B, C] expected tokens of the answer.
        novelty: [B] in [0, 1], 1 - p-value of the prompt among the training data.
        tokenize_s: seconds spent tokenising the batch.
        score_s: seconds spent in the model.
        embedding: [B, D] of the prompts; None where nobody wants them.
        cached: [B] whether the model did not run for this request; empty where every text is scored.
    """

    quality: Floats
    output_tokens: Floats
    novelty: Floats
    tokenize_s: float
    score_s: float
    cached: tuple[bool, ...] = ()
    embedding: Floats | None = None


class Score(Protocol):
    """Scores a batch of windows. Safe to call from several threads."""

    def __call__(self, texts: Sequence[str], /) -> Scores:
        """Scores B windows. Raises whatever the model raises: the router answers degraded then."""
        ...


class Pending(Protocol):
    """A batch that was begun to be scored.

    Attributes:
        done: whether finishing it needs no waiting.
    """

    @property
    def done(self) -> bool: ...  # noqa: D102 - said above

    def then(self, wake: Callable[[], None], /) -> None:
        """Calls `wake` once when it is done, from any thread."""
        ...


class ScoreAhead(Score, Protocol):
    """Scores in two phases, so that others can be begun meanwhile. `begin` and `finish` belong to one thread.

    Attributes:
        most: windows of one batch, as far as runs of the model take no longer than they should.
        room: windows that may be begun now.
    """

    @property
    def most(self) -> int: ...  # noqa: D102 - said above
    @property
    def room(self) -> int: ...  # noqa: D102 - said above

    def begin(self, texts: Sequence[str], /) -> Pending:
        """Begins to score B windows. Raises where not even that is possible."""
        ...

    def finish(self, pending: Any, /) -> Scores:
        """The scores of what was begun; waits if it is not done. To be called once for each. Raises as a Score."""
        ...


class NoveltyMeasure(Protocol):
    """How unlike the training data prompts are, and what follows for their qualities."""

    def weigh(self, quality: Floats, embedding: Floats, /) -> tuple[Floats, Floats]:
        """Of qualities [B, C] and embeddings [B, D]: the novelty [B] in [0, 1], and the qualities [B, C] in its light.

        These are drawn toward the candidates' priors, the more so the larger the novelty.
        """
        ...

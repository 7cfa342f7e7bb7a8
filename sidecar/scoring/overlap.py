"""The scorer of encoders: in two phases, so that one batch is tokenised while another one runs."""

from collections.abc import Callable, Sequence
from math import isfinite
from time import perf_counter

from sidecar.scoring.pace import Pace
from sidecar.scoring.ragged import Rows
from sidecar.scoring.runner import Runner, Ticket
from sidecar.scoring.scorer import ScoreFault, fault_of
from sidecar.types import NoveltyMeasure, Scores

# Batches that may be begun and not yet answered: one that runs, and one that is tokenised by the time it ends.
AHEAD = 2


class Pending:
    """A batch that was begun.

    Attributes:
        ticket: its place with the runner.
        tokenize_s: seconds of tokenising.
    """

    __slots__ = ("then", "ticket", "tokenize_s")

    def __init__(self, ticket: Ticket, tokenize_s: float) -> None:
        self.ticket = ticket
        self.tokenize_s = tokenize_s
        self.then = ticket.then

    @property
    def done(self) -> bool:
        """Whether finishing it needs no waiting."""
        return self.ticket.done


class OverlappingScorer:
    """Scores windows. `begin` and `finish` belong to one thread; calling it is safe from any.

    Args:
        tokenize: texts to token ids, one row for each.
        runner: runs them.
        novelty: of embeddings, and the shrinkage that follows from it.
        pace: how much fits into one run.

    Attributes:
        runner: as given.
    """

    def __init__(
        self, tokenize: Callable[[Sequence[str]], Rows], runner: Runner, novelty: NoveltyMeasure, pace: Pace
    ) -> None:
        self._tokenize = tokenize
        self.runner = runner
        self._novelty = novelty
        self._pace = pace
        self._begun = 0

    @property
    def most(self) -> int:
        """Texts of one batch, as far as runs take no longer than they should."""
        return self._pace.rows

    @property
    def room(self) -> int:
        """Texts that may be begun now. More would wait in the runner's queue, where nobody can turn them away."""
        return AHEAD * self._pace.rows - self._begun

    def begin(self, texts: Sequence[str]) -> Pending:
        """Tokenises a batch of at least one text, and puts it into the runner's queue.

        Raises:
            ScoreFault: the tokenizer failed.
        """
        pending = self._submit(texts)
        self._begun += len(texts)
        return pending

    def finish(self, pending: Pending) -> Scores:
        """The scores of a batch that was begun; waits if they are not there yet. To be called once for each.

        Raises:
            ScoreFault: the model failed, or a score is not finite.
        """
        self._begun -= len(pending.ticket.rows)
        return self._scores(pending)

    def __call__(self, texts: Sequence[str]) -> Scores:
        """Scores a batch of at least one text.

        Raises:
            ScoreFault: tokenizer or model failed, or a score is not finite.
        """
        return self._scores(self._submit(texts))

    def _submit(self, texts: Sequence[str]) -> Pending:
        start = perf_counter()
        try:
            rows = self._tokenize(texts)
        except Exception as error:  # see Scorer
            raise fault_of(error) from error
        tokenized = perf_counter()  # before the runner has it: that may run first
        return Pending(self.runner.submit(rows), tokenized - start)

    def _scores(self, pending: Pending) -> Scores:
        try:
            raw_quality, embedding, output_tokens = pending.ticket.outputs()
            novelty, quality = self._novelty.weigh(raw_quality, embedding)
        except Exception as error:  # see Scorer
            raise fault_of(error) from error
        if not isfinite(quality.ravel().dot(output_tokens.ravel())):
            raise ScoreFault("scoring gave a quality or a token count that is not finite")
        return Scores(quality, output_tokens, novelty, pending.tokenize_s, pending.ticket.seconds, embedding=embedding)

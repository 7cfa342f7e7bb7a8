"""Pooled vectors of windows by a pretrained encoder, computed once per process."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from export.encoder.base import Base, read_base
from export.encoder.pooling import Pooling, Progress, pooled
from export.encoder.tokens import BATCH, TokenRows
from export.errors import DataError
from sidecar.scoring.tokenizer import Tokenizer
from sidecar.types import Floats


class Vectors:
    """An encoder that is not changed by training, and what it made of windows so far.

    Attributes:
        base: the encoder.
        pooling: over it.
    """

    def __init__(self, base: Base) -> None:
        self.base = base
        self.pooling = Pooling(base).eval()
        self._known: dict[tuple[str, int], Floats] = {}

    @staticmethod
    def batches(rows: int) -> int:
        """How often `of` calls progress."""
        return -(-rows // BATCH)

    def rows(self, windows: Sequence[str], max_tokens: int) -> TokenRows:
        """The tokens of windows.

        Raises:
            DataError: the encoder reads fewer tokens.
        """
        if max_tokens > self.base.most_tokens:
            raise DataError(
                f"--max-tokens: {self.base.name} reads at most {self.base.most_tokens} tokens, not {max_tokens}."
            )
        return TokenRows(Tokenizer(self.base.tokenizer, max_tokens=max_tokens, pad_id=self.base.pad_id), windows)

    def of(self, windows: Sequence[str], max_tokens: int, progress: Progress = lambda: None) -> Floats:
        """[N, F] of windows; calls progress batches(N) times.

        Raises:
            DataError: the encoder reads fewer tokens.
        """
        missing = [text for text in dict.fromkeys(windows) if (text, max_tokens) not in self._known]
        called = 0

        def count() -> None:
            nonlocal called
            called += 1
            progress()

        if missing:
            found = pooled(self.pooling, self.rows(missing, max_tokens), count)
            self._known.update({(text, max_tokens): row for text, row in zip(missing, found, strict=True)})
        for _ in range(self.batches(len(windows)) - called):
            progress()
        return np.stack([self._known[text, max_tokens] for text in windows])


@cache
def vectors_of(base: str) -> Vectors:
    """The vectors of an encoder; the same object for the same name, since leaving out segments asks again and again."""
    return Vectors(read_base(base))

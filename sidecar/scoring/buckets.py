"""Runs of an encoder: rows of like length together, and shapes of which there are few."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

# Shapes that are kept ready on a device: each costs a session there, with weights and buffers of its own.
MOST_SHAPES = 48
FEWEST_TOKENS = 32
# Tokens of padding that a run more must save: what a run costs beside its tokens, in tokens. Measured with MiniLM in
# int8 on a Xeon: 0.4 to 0.6 ms against 0.05 to 0.1 ms for each token. Where the model takes padding out by itself, it
# costs its share of the attention alone: 32 is 3 % better than 8 for prompts of 20 tokens, and alike for those of 60. On a
# GPU a run is a launch and five copies.
CPU_RUN, UNPADDED_RUN, DEVICE_RUN = 8, 32, 1024


class Run(NamedTuple):
    """Rows that are run together.

    Attributes:
        rows: places in the batch.
        tokens: how long each is made.
    """

    rows: Sequence[int]
    tokens: int


class Buckets:
    """The shapes in which a device runs a model.

    Attributes:
        batches: sizes of a batch, ascending.
        tokens: lengths of a row, ascending.
    """

    def __init__(self, batches: Sequence[int], tokens: Sequence[int]) -> None:
        self.batches = sorted(set(batches))
        self.tokens = sorted(set(tokens))

    @classmethod
    def up_to(cls, rows: int, tokens: int) -> "Buckets":
        """Powers of two up to so many rows and tokens; short rows share a shape where these would be too many."""
        batches, lengths = _doubling(1, rows), _doubling(min(FEWEST_TOKENS, tokens), tokens)
        while len(lengths) > 1 and len(batches) * len(lengths) > MOST_SHAPES:
            lengths = lengths[1:]
        return cls(batches, lengths)

    def shapes(self) -> Iterator[tuple[int, int]]:
        """Every (batch, tokens), the largest first: what it allocates, the smaller ones find there."""
        return ((batch, tokens) for tokens in reversed(self.tokens) for batch in reversed(self.batches))

    def holding(self, rows: int, tokens: int) -> tuple[int, int]:
        """The smallest shape into which so many rows of so many tokens fit; there must be one."""
        batch = next(batch for batch in self.batches if batch >= rows)
        return batch, next(length for length in self.tokens if length >= tokens)

    def cut(self, lengths: Sequence[int], run: int = DEVICE_RUN) -> Iterator[Run]:
        """Cuts a batch of any size into runs, each of which fits into a bucket; see the function."""
        return cut([self.holding(1, length)[1] for length in lengths], run, self.batches[-1])


def cut(lengths: Sequence[int], run: int, most_rows: int) -> Iterator[Run]:
    """Cuts a batch into runs of like length.

    Args:
        lengths: of the rows, in tokens.
        run: what one more run costs, in tokens: no run is padded with more than so many.
        most_rows: of one run.

    Yields:
        Runs, shortest rows first; each row is in one of them.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    rows: list[int] = []
    width = padding = 0
    for length, alike in groupby(order, key=lengths.__getitem__):
        more = len(rows) * (length - width)
        if rows and padding + more > run:
            yield from _slices(rows, width, most_rows)
            rows, padding, more = [], 0, 0
        rows = [*rows, *alike]
        width, padding = length, padding + more
    if rows:
        yield from _slices(rows, width, most_rows)


def _slices(rows: Sequence[int], tokens: int, most_rows: int) -> Iterator[Run]:
    return (Run(rows[at : at + most_rows], tokens) for at in range(0, len(rows), most_rows))


def _doubling(first: int, last: int) -> list[int]:
    found = []
    while first < last:
        found.append(first)
        first *= 2
    return [*found, last]

"""Runs an encoder on the CPU: any shape, rows of like length together."""

from collections.abc import Callable, Sequence

import numpy as np

from sidecar.scoring.buckets import CPU_RUN, UNPADDED_RUN, cut
from sidecar.scoring.padding import Ids, fill
from sidecar.types import Floats

Rows = Sequence[list[int]]
Outputs = tuple[Floats, Floats, Floats]


class Ragged:
    """Runs batches of rows of any length. Safe to call from several threads.

    A batch is sorted by length and cut where padding would cost more than a run; see buckets.

    Args:
        infer: input_ids and attention_mask, both [B, T], to quality, embedding and output_tokens.
        pad_id: fills short rows.
        most_rows: of one run.
        unpadded: whether the model takes padding out by itself; else a padded token costs as much as a real one.
    """

    def __init__(
        self, infer: Callable[[Ids, Ids], Outputs], pad_id: int, most_rows: int, *, unpadded: bool = False
    ) -> None:
        self._infer = infer
        self._pad_id = pad_id
        self._most_rows = most_rows
        self._run = UNPADDED_RUN if unpadded else CPU_RUN

    def __call__(self, rows: Rows) -> Outputs:
        """Runs at least one row. Raises whatever the model raises."""
        runs = list(cut([len(row) for row in rows], self._run, self._most_rows))
        parts = [self._infer(*fill([rows[row] for row in run.rows], self._pad_id)) for run in runs]
        return joined(parts, [row for run in runs for row in run.rows])


def joined(parts: Sequence[Outputs], places: Sequence[int]) -> Outputs:
    """The outputs of several runs as those of one batch.

    Args:
        parts: of the runs.
        places: where each of their rows stands in the batch.
    """
    back = np.argsort(places)
    quality, embedding, output_tokens = (np.concatenate(part)[back] for part in zip(*parts, strict=True))
    return quality, embedding, output_tokens

"""Token vectors below the layers that are tuned: what training leaves alone is computed once, and kept in a file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.encoder.pooling import Pooling, Progress
from export.encoder.tokens import Rows, TokenRows
from export.errors import DataError
from sidecar.types import Floats


class States:
    """Token vectors of rows of different lengths, in half precision, on disk and mapped into memory.

    Args:
        path: of the file; it is as large as two bytes times the tokens times the width.
        lengths: [N] tokens of each row.
        width: of a token's vector.
    """

    def __init__(self, path: Path, lengths: Rows, width: int) -> None:
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        self.lengths = lengths
        self._vectors = np.memmap(path, np.float16, "w+", shape=(int(self._ends[-1]), width))

    def put(self, rows: Rows, states: Tensor) -> None:
        """Keeps the vectors [B, T, width] of some rows.

        Raises:
            DataError: a value is too large for half precision.
        """
        with np.errstate(over="ignore"):
            halves = states.numpy().astype(np.float16)
        if not np.isfinite(halves).all():
            raise DataError("--tune-layers: this base's token vectors exceed half precision; leave --tune-layers out.")
        for row, half in zip(rows, halves, strict=True):
            self._vectors[self._starts[row] : self._ends[row]] = half[: self.lengths[row]]

    def take(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Vectors [B, T, width] of some rows in full precision, and their attention_mask [B, T]."""
        mask = torch.zeros((len(rows), int(self.lengths[rows].max())), dtype=torch.long)
        states = torch.zeros((*mask.shape, self._vectors.shape[1]))
        for at, row in enumerate(rows):
            length = self.lengths[row]
            states[at, :length] = torch.from_numpy(
                self._vectors[self._starts[row] : self._ends[row]].astype(np.float32)
            )
            mask[at, :length] = 1
        return states, mask


def read_states(
    pooling: Pooling, rows: TokenRows, depth: int, path: Path, progress: Progress = lambda: None
) -> tuple[Floats, States]:
    """The pooled vectors [N, F] of all rows, and their token vectors at one depth; calls progress once per batch.

    Raises:
        DataError: a value is too large for half precision.
    """
    values = np.zeros((len(rows), pooling.width), np.float32)
    kept = States(path, rows.lengths, pooling.width // len(pooling.depths))
    pooling.eval()
    with torch.inference_mode():
        for batch in rows.batches():
            ids, mask = rows.take(batch)
            states = pooling.states(ids, mask)
            values[batch] = pooling.means(states, mask).numpy()
            kept.put(batch, states[depth])
            progress()
    return values, kept

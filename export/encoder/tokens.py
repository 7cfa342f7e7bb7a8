"""Token rows in batches of about equal length: padding is computed too."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidecar.scoring.tokenizer import Tokenizer

Rows = NDArray[np.int64]
BATCH = 32


class TokenRows:
    """Tokenised windows.

    Args:
        tokenizer: as it will serve.
        windows: [N] texts.
    """

    def __init__(self, tokenizer: Tokenizer, windows: Sequence[str]) -> None:
        self._ids: list[Tensor] = []
        for at in range(0, len(windows), BATCH):
            ids, mask = tokenizer(windows[at : at + BATCH])
            counts = mask.sum(axis=1)
            self._ids += [torch.from_numpy(row[:count].copy()) for row, count in zip(ids, counts, strict=True)]
        self.lengths: Rows = np.array([len(row) for row in self._ids], np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def take(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask of some rows, both [B, T]."""
        chosen = [self._ids[row] for row in rows]
        mask = [torch.ones_like(row) for row in chosen]
        pad = torch.nn.utils.rnn.pad_sequence
        return pad(chosen, batch_first=True), pad(mask, batch_first=True)

    def batches(self, rows: Rows | None = None, size: int = BATCH) -> Iterator[Rows]:
        """All rows, or the given ones, shortest first, in batches."""
        rows = np.arange(len(self)) if rows is None else rows
        ordered = rows[np.argsort(self.lengths[rows], kind="stable")]
        for at in range(0, len(ordered), size):
            yield ordered[at : at + size]

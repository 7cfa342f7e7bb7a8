"""The layers of an encoder that are tuned."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.encoder.base import Base
from export.encoder.pooling import Pooling, means
from export.encoder.states import States
from export.errors import DataError
from sidecar.types import Floats

# Half precision of the states below, and nothing more, may tell the copied layers from the encoder's own.
_TOLERANCE = 0.02
_PROBED = 8


class Upper(nn.Module):
    """Token vectors [B, T, width] below the layers, and attention_mask, to pooled vectors [B, R] of the depths above.

    Attributes:
        layers: a copy of the encoder's last ones.
        lower: how many of the pooled values come from below them.

    Args:
        pooling: of the encoder; its weights stay as they are.
        count: of layers.
        dropout: share of a layer's values that a step of training leaves out.

    Raises:
        DataError: the encoder has no such layers.
    """

    def __init__(self, pooling: Pooling, count: int, dropout: float = 0.0) -> None:
        super().__init__()
        if count > pooling.layers:
            raise DataError(f"--tune-layers: the base has {pooling.layers} layers, not {count}.")
        stack = _stack(pooling.encoder)
        if stack is None or len(stack) != pooling.layers:
            raise DataError("--tune-layers: this base is not built like BERT; leave --tune-layers out.")
        self.layers = copy.deepcopy(stack[pooling.layers - count :])
        for module in self.layers.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        below = pooling.layers - count
        self._reached = [below + at + 1 in pooling.depths for at in range(count)]
        self.lower = pooling.width - sum(self._reached) * (pooling.width // len(pooling.depths))

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Pools."""
        # What the softmax adds to the places that hold no token.
        outside = (1.0 - attention_mask[:, None, None, :].to(states.dtype)) * torch.finfo(states.dtype).min
        reached = []
        for layer, wanted in zip(self.layers, self._reached, strict=True):
            states = layer(states, outside)[0]
            if wanted:
                reached.append(states)
        return means(reached, attention_mask)

    def of(self, values: Floats, states: States, rows: np.ndarray[Any, np.dtype[np.int64]], size: int) -> Floats:
        """[len(rows), F] pooled vectors of rows: below the layers as they were, above them anew.

        Args:
            values: [N, F] by the encoder as it was.
            states: of the N rows.
            rows: numbers.
            size: of the batches.
        """
        found = values[rows]
        self.eval()
        order = np.argsort(states.lengths[rows], kind="stable")
        with torch.inference_mode():
            for at in range(0, len(order), size):
                batch = order[at : at + size]
                found[batch, self.lower :] = self(*states.take(rows[batch])).numpy()
        return found

    def check(self, values: Floats, states: States) -> None:
        """Raises DataError if the layers, still untouched, do not do what the encoder does."""
        rows = np.arange(min(_PROBED, len(values)))
        worst = np.abs(self.of(values, states, rows, _PROBED) - values[rows]).max()
        if not worst <= _TOLERANCE * np.abs(values[rows]).max():
            raise DataError("--tune-layers: this base's layers do more than BERT's; leave --tune-layers out.")

    def inside(self, base: Base) -> Base:
        """A copy of the encoder with these layers as its last ones."""
        model = copy.deepcopy(base.model)
        stack: Sequence[nn.Module] = _stack(model)
        for own, tuned in zip(stack[len(stack) - len(self.layers) :], self.layers, strict=True):
            own.load_state_dict(tuned.state_dict())
        return replace(base, model=model.eval())


def _stack(encoder: nn.Module) -> Any:
    return getattr(getattr(encoder, "encoder", None), "layer", None)

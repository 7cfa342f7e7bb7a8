"""What a router sees of a prompt: the mean of the token vectors, at several depths of the encoder.

The lower layers know the words and the upper ones the topic; heads over all of them learn more from few labels than
heads over the last alone (Brier score .2035 against .2069, cross-validated on routing_train).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from export.encoder.base import Base
from export.encoder.tokens import TokenRows
from sidecar.types import Floats

MOST_DEPTHS = 7

Progress = Callable[[], object]


class Pooling(nn.Module):
    """Input arrays to [B, depths * width].

    Args:
        base: its encoder is shared, not copied.
    """

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.encoder = base.model
        count = min(base.layers + 1, MOST_DEPTHS)
        self.depths = [round(depth) for depth in np.linspace(0, base.layers, count)]
        self.layers = base.layers
        self.width = len(self.depths) * base.width

    def nearest(self, depth: float) -> int:
        """Which of the depths is nearest to a share of the encoder's layers."""
        return min(range(len(self.depths)), key=lambda at: abs(self.depths[at] - depth * self.layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pools; a row without any token gives zeros."""
        return self.means(self.states(input_ids, attention_mask), attention_mask)

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Sequence[Tensor]:
        """Token vectors [B, T, width] of every depth, from the embeddings to the last layer."""
        # Somewhere to look, for a row without any token: a softmax over nothing is no number.
        seen = torch.cat([torch.ones_like(attention_mask[:, :1]), attention_mask[:, 1:]], dim=1)
        states: Sequence[Tensor] = self.encoder(
            input_ids=input_ids, attention_mask=seen, output_hidden_states=True
        ).hidden_states
        return states

    def means(self, states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """The pooled vectors of `states`."""
        return means([states[depth] for depth in self.depths], attention_mask)


def means(states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
    """[B, len(states) * width]: of each [B, T, width] the means over the tokens of a row, side by side."""
    weight = attention_mask.unsqueeze(-1).to(states[0].dtype)
    tokens = weight.sum(dim=1).clamp(min=1.0)
    return torch.cat([(each * weight).sum(dim=1) / tokens for each in states], dim=1)


def pooled(pooling: Pooling, rows: TokenRows, progress: Progress = lambda: None) -> Floats:
    """[N, depths * width] of all rows; calls progress once per batch."""
    values = np.zeros((len(rows), pooling.width), np.float32)
    pooling.eval()
    with torch.inference_mode():
        for batch in rows.batches():
            values[batch] = pooling(*rows.take(batch)).numpy()
            progress()
    return values

"""The whole router as one module, as it is exported."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.encoder.heads import Heads, Scaled
from export.encoder.pooling import Pooling
from sidecar.types import Floats


class Router(nn.Module):
    """input_ids and attention_mask, both int64 [B, T], to quality [B, C], embedding [B, D] and output_tokens [B, C].

    Attributes:
        pooling: the encoder and its pooled vectors.
        hidden: of all members side by side, the standardisation folded in.
        out: logits of quality and lengths, calibration and the mean over the members folded in.
        direction: [F, D] pooled vectors to the embedding.
        longest: [C] what a length of 1 is in tokens.
    """

    longest: Tensor
    direction: Tensor

    def __init__(self, pooling: Pooling, hidden: nn.Linear, out: nn.Linear, direction: Floats, longest: Floats) -> None:
        super().__init__()
        self.pooling, self.hidden, self.out = pooling, hidden, out
        self.config = pooling.encoder.config  # where optimum looks for it
        self.register_buffer("direction", torch.from_numpy(direction))
        self.register_buffer("longest", torch.from_numpy(longest))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Scores a batch."""
        return self.of_pooled(self.pooling(input_ids, attention_mask))

    def of_pooled(self, values: Tensor) -> dict[str, Tensor]:
        """Scores pooled vectors [B, F]."""
        chances = torch.sigmoid(self.out(functional.gelu(self.hidden(values))))
        count = len(self.longest)
        return {
            "quality": chances[:, :count],
            "embedding": values @ self.direction,
            "output_tokens": chances[:, count:] * self.longest,
        }


def folded(
    pooling: Pooling,
    members: Sequence[Heads],
    scaled: Scaled,
    slope: Floats,
    intercept: Floats,
    direction: Floats,
    longest: Floats,
) -> Router:
    """One router from trained heads.

    Args:
        pooling: in front of them.
        members: heads whose logits are averaged.
        scaled: the standardisation that they were trained behind.
        slope: [2C] of the calibration.
        intercept: [2C] of the calibration.
        direction: [F, D] pooled vectors to the embedding.
        longest: [C] what a length of 1 is in tokens.
    """
    used = 2 * members[0].candidates
    with torch.no_grad():
        weight = torch.cat([member.hidden.weight for member in members]) / torch.from_numpy(scaled.deviation)
        bias = torch.cat([member.hidden.bias for member in members]) - weight @ torch.from_numpy(scaled.mean)
        hidden = _linear(weight, bias)
        slopes = torch.from_numpy(slope)
        head = torch.cat([member.out.weight[:used] for member in members], dim=1) / len(members)
        head_bias = torch.stack([member.out.bias[:used] for member in members]).mean(dim=0)
        out = _linear(head * slopes[:, None], head_bias * slopes + torch.from_numpy(intercept))
    return Router(pooling, hidden, out, np.ascontiguousarray(direction), longest).eval()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer

"""What a teacher expects, as targets beside the labels."""

from dataclasses import dataclass

import numpy as np

from export.network import Targets
from sidecar.types import Floats

# Of the teacher's word where there is a label too. Cross-validated on routing_train, .5 to 1 do about equally well; the teacher
# knows a little of each fold through its neighbours, so not the largest.
TEACHER_SHARE = 0.8


@dataclass(frozen=True)
class Lessons:
    """What a teacher expects.

    Attributes:
        quality: [N, C] of the labelled prompts.
        output_tokens: [N, C] of the labelled prompts.
        windows: [M] texts of further prompts.
        further_quality: [M, C].
        further_tokens: [M, C].
        share: of the teacher's word where there is a label too.
    """

    quality: Floats
    output_tokens: Floats
    windows: tuple[str, ...]
    further_quality: Floats
    further_tokens: Floats
    share: float = TEACHER_SHARE

    def mixed(self, targets: Targets, longest: Floats) -> Targets:
        """The targets of the labelled prompts, softened by the teacher; where there is no label, its word alone."""
        return Targets(
            _mixed(targets.quality, self.quality, self.share),
            _mixed(targets.lengths, _shares(self.output_tokens, longest), self.share),
            targets.labels,
        )

    def further(self, longest: Floats, labels: int) -> Targets:
        """The targets of the further prompts; their segments and sources are unknown."""
        unknown = np.full(len(self.windows), -1, np.int64)
        return Targets(self.further_quality, _shares(self.further_tokens, longest), (unknown,) * labels)


def _mixed(known: Floats, said: Floats, share: float) -> Floats:
    mixed: Floats = np.where(np.isnan(known), said, share * said + (1.0 - share) * known).astype(np.float32)
    return mixed


def _shares(tokens: Floats, longest: Floats) -> Floats:
    shares: Floats = np.minimum(tokens / longest, 1.0).astype(np.float32)
    return shares

"""The scoring core: texts in, what the bundle says of them out."""

from collections.abc import Callable, Sequence
from math import isfinite
from time import perf_counter
from typing import ClassVar

import numpy as np

from sidecar.errors import RouterError
from sidecar.scoring.padding import Ids, split
from sidecar.types import Floats, NoveltyMeasure, Scores

Tokenize = Callable[[Sequence[str]], tuple[Ids, Ids]]
Infer = Callable[[Ids, Ids], tuple[Floats, Floats, Floats]]


class ScoreFault(RouterError):
    """The bundle could not score a batch; the caller answers with the safe candidate instead."""

    status: ClassVar[str] = "INTERNAL"


def fault_of(error: Exception) -> ScoreFault:
    """What may be told of an error of tokenizer or model: what it says may quote a prompt."""
    return ScoreFault(f"scoring failed in {type(error).__module__}: {type(error).__name__}")


class Scorer:
    """Scores windows. Holds no state between calls, so any number of threads may share it.

    Args:
        tokenizer: texts to input_ids and attention_mask, both [B, T].
        session: these to quality [B, C], embedding [B, D] and output_tokens [B, C].
        novelty: of embeddings, and the shrinkage that follows from it.
    """

    def __init__(self, tokenizer: Tokenize, session: Infer, novelty: NoveltyMeasure) -> None:
        self._tokenizer = tokenizer
        self._session = session
        self._novelty = novelty

    def __call__(self, texts: Sequence[str]) -> Scores:
        """Scores a batch of at least one text.

        Raises:
            ScoreFault: tokenizer or model failed, or a score is not finite.
        """
        start = perf_counter()
        try:
            input_ids, attention_mask = self._tokenizer(texts)
            tokenized = perf_counter()
            raw_quality, embedding, output_tokens = self._infer(input_ids, attention_mask)
            novelty, quality = self._novelty.weigh(raw_quality, embedding)
        except Exception as error:  # foreign code: tokenizers raises bare Exception, ONNX Runtime one type per status
            raise fault_of(error) from error
        # One product is finite only if every factor is: half a microsecond, where two isfinite().all() take three.
        if not isfinite(quality.ravel().dot(output_tokens.ravel())):
            raise ScoreFault("scoring gave a quality or a token count that is not finite")
        return Scores(
            quality, output_tokens, novelty, tokenized - start, perf_counter() - tokenized, embedding=embedding
        )

    def _infer(self, input_ids: Ids, attention_mask: Ids) -> tuple[Floats, Floats, Floats]:
        groups = split(attention_mask)
        if groups is None:
            return self._session(input_ids, attention_mask)
        short, long = groups
        width = int(attention_mask[short].sum(axis=1).max(initial=1))
        parts = zip(
            self._session(input_ids[short, :width], attention_mask[short, :width]),
            self._session(input_ids[long], attention_mask[long]),
            strict=True,
        )
        back = np.argsort(np.concatenate(groups))
        quality, embedding, output_tokens = (np.concatenate(part)[back] for part in parts)
        return quality, embedding, output_tokens

"""The scoring core: texts in, what the bundle says of them out."""

from collections.abc import Callable, Sequence
from math import isfinite
from time import perf_counter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import RouterError
from sidecar.types import Floats, NoveltyMeasure, Scores

_Ids = NDArray[np.int64]
Tokenize = Callable[[Sequence[str]], tuple[_Ids, _Ids]]
Infer = Callable[[_Ids, _Ids], tuple[Floats, Floats, Floats]]


class ScoreFault(RouterError):
    """The bundle could not score a batch; the caller answers with the safe candidate instead."""

    status: ClassVar[str] = "INTERNAL"


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
        self._shrink = novelty.shrink

    def __call__(self, texts: Sequence[str]) -> Scores:
        """Scores a batch of at least one text.

        Raises:
            ScoreFault: tokenizer or model failed, or a score is not finite.
        """
        start = perf_counter()
        try:
            input_ids, attention_mask = self._tokenizer(texts)
            tokenized = perf_counter()
            raw_quality, embedding, output_tokens = self._session(input_ids, attention_mask)
            novelty = self._novelty(embedding)
            quality = self._shrink(raw_quality, novelty)
        except Exception as error:  # foreign code: tokenizers raises bare Exception, ONNX Runtime one type per status
            raise ScoreFault(f"scoring failed in {type(error).__module__}: {type(error).__name__}") from error
        # One product is finite only if every factor is: under a microsecond, where two isfinite().all() take three.
        if not isfinite(np.vdot(quality, output_tokens)):
            raise ScoreFault("scoring gave a quality or a token count that is not finite")
        return Scores(quality, output_tokens, novelty, tokenized - start, perf_counter() - tokenized)

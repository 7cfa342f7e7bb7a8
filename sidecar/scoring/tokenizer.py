"""From texts to the model's input arrays."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import tokenizers

from sidecar.errors import BundleError
from sidecar.scoring.chunks import Chunks, independent, splitting_of
from sidecar.scoring.packed import Filler, unpacked
from sidecar.scoring.padding import Ids, fill

# The library's thread pool would take the cores that the workers need. It reads this on every call.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_FILE = "tokenizer.json"


class _Model(msgspec.Struct):
    vocab: dict[str, int] | list[Any]


class _Content(msgspec.Struct):
    model: _Model


class Tokenizer:
    """A tokenizer, frozen after construction; safe to call from several threads.

    Args:
        content: bytes of tokenizer.json.
        max_tokens: longer texts are cut to this length.
        pad_id: fills the short rows of a batch.

    Raises:
        BundleError: the file is no tokenizer, or pad_id is outside its vocabulary.

    Attributes:
        last_id: the largest token id that it can give.
    """

    def __init__(self, content: bytes, *, max_tokens: int, pad_id: int) -> None:
        try:
            library = tokenizers.Tokenizer.from_str(content.decode())  # quicker than from_buffer
            library.no_padding()
            library.enable_truncation(max_tokens)
            # get_vocab() would say it too, but takes 22 ms for 32,000 tokens where this takes 9.
            vocabulary = msgspec.json.decode(content, type=_Content).model.vocab
            self.last_id = _last_id(vocabulary, library)
            library.encode_batch_fast(["a", "\u00e9\u4e16 1!"])
        except BaseException as error:  # a panic of the Rust library is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise BundleError(f"{_FILE}: is not a usable tokenizer: {error}") from error
        if not 0 <= pad_id <= max(self.last_id, 0):
            raise BundleError(f"{_FILE}: its last id is {self.last_id}, but the manifest pads with {pad_id}")
        # encode_batch_fast tracks no offsets: a quarter cheaper than encode, also for a batch of one.
        encode = library.encode_batch_fast
        self._encode: Callable[[Sequence[str]], list[list[int]]] = lambda texts: [found.ids for found in encode(texts)]
        self._chunks: Chunks | None = None
        if isinstance(vocabulary, dict) and independent(content):
            library.no_truncation()  # of a text's chunks the first may be short and the second long
            self._chunks = Chunks(lambda text: encode([text])[0].ids, vocabulary, max_tokens, splitting_of(content))
            self._fill = Filler(pad_id, max_tokens)
        self._pad_id = pad_id
        self._ones = np.ones((1, max_tokens), np.int64)
        self._ones.flags.writeable = False

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text; at least one of each, since a row without any token is none."""
        chunks = self._chunks
        rows = [unpacked(chunks(text)) for text in texts] if chunks else self._encode(texts)
        return [row or [self._pad_id] for row in rows]

    def __call__(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """Tokenises a batch.

        Returns:
            input_ids and attention_mask, both [B, T]; T is that of the longest text, at least 1.
        """
        if (chunks := self._chunks) is not None:
            packed = [chunks(text) for text in texts]
            if len(packed) == 1 and packed[0]:
                ids = np.frombuffer(packed[0], np.int64)[None]
                return ids, self._ones[:, : ids.shape[1]]
            return self._fill(packed)
        rows = self._encode(texts)
        if len(rows) == 1 and rows[0]:
            ids = np.array(rows, np.int64)
            return ids, self._ones[:, : ids.shape[1]]
        return fill(rows, self._pad_id)


def _last_id(vocabulary: dict[str, int] | list[Any], library: tokenizers.Tokenizer) -> int:
    ids = vocabulary.values() if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
    return max(max(ids, default=-1), max(library.get_added_tokens_decoder(), default=-1))

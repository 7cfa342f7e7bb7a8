"""From texts to the model's input arrays."""

import os
from collections.abc import Sequence

import numpy as np
import tokenizers
from numpy.typing import NDArray

from sidecar.errors import BundleError

# The library's thread pool would take the cores that the workers need. It reads this on every call.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Ids = NDArray[np.int64]
_FILE = "tokenizer.json"


class Tokenizer:
    """A tokenizer, frozen after construction; safe to call from several threads.

    Args:
        content: bytes of tokenizer.json.
        max_tokens: longer texts are cut to this length.
        pad_id: fills the short rows of a batch.

    Raises:
        BundleError: the file is no tokenizer, or pad_id is outside its vocabulary.
    """

    def __init__(self, content: bytes, *, max_tokens: int, pad_id: int) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_tokens)
            self.last_id = max(self._tokenizer.get_vocab().values(), default=-1)
            self._tokenizer.encode_batch_fast(["a", "\u00e9\u4e16 1!"])
        except BaseException as error:  # a panic of the Rust library is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise BundleError(f"{_FILE}: is not a usable tokenizer: {error}") from error
        if not 0 <= pad_id <= max(self.last_id, 0):
            raise BundleError(f"{_FILE}: its last id is {self.last_id}, but the manifest pads with {pad_id}")
        self._encode = self._tokenizer.encode_batch_fast
        self._pad_id = pad_id

    def __call__(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """Tokenises a batch.

        Returns:
            input_ids and attention_mask, both [B, T]; T is that of the longest text, at least 1.
        """
        # A batch of one through encode_batch_fast is a quarter cheaper than encode: it tracks no offsets.
        rows = [encoding.ids for encoding in self._encode(texts)]
        if len(rows) == 1 and rows[0]:
            ids = np.array(rows, np.int64)
            return ids, np.ones_like(ids)
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(max(int(lengths.max()), 1)) < lengths[:, None]
        ids = np.full(mask.shape, self._pad_id, np.int64)
        ids[mask] = np.array([token for row in rows for token in row], np.int64)
        return ids, mask.astype(np.int64)

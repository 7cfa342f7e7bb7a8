"""Token vectors that ship inside the wordllama package (MIT licence), looked up for our own pieces."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from safetensors.numpy import load
from tokenizers import Tokenizer

from sidecar.types import Floats

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_START = "\u2581"  # marks the beginning of a word in its vocabulary


@dataclass(frozen=True)
class WordVectors:
    """Vectors of another tokenizer's pieces.

    Attributes:
        words: whole lower-case words, most frequent first.
        parts: lower-case pieces that stand inside words.
    """

    words: tuple[str, ...]
    parts: tuple[str, ...]
    _vocabulary: dict[str, int]
    _tokenizer: Tokenizer
    _rows: Floats

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self._rows.shape[1])

    def of(self, pieces: Sequence[str]) -> Floats:
        """[V, dimensions] a vector for each piece: its own as a word, else as a part, else the mean of its parts'."""
        return np.stack([self._vector(piece) for piece in pieces])

    def _vector(self, piece: str) -> Floats:
        for spelling in (_START + piece, piece, _START + piece.capitalize(), _START + piece.upper()):
            if spelling in self._vocabulary:
                row: Floats = self._rows[self._vocabulary[spelling]]
                return row
        ids = self._tokenizer.encode(piece, add_special_tokens=False).ids
        ids = [i for i in ids if i != self._vocabulary[_START]] or ids
        mean: Floats = self._rows[ids].mean(axis=0)
        return mean


@cache
def read_wordvectors() -> WordVectors:
    """Reads the vectors from the installed package."""
    package = files("wordllama")
    rows = next(iter(load(package.joinpath(_WEIGHTS).read_bytes()).values())).astype(np.float32)
    text = package.joinpath(_TOKENIZER).read_text(encoding="utf-8")
    vocabulary: dict[str, int] = json.loads(text)["model"]["vocab"]
    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    plain = [piece for piece in sorted(vocabulary, key=vocabulary.__getitem__) if piece.isascii() or _START in piece]
    words = [piece[1:].lower() for piece in plain if piece.startswith(_START) and _plain(piece[1:])]
    parts = [piece.lower() for piece in plain if _plain(piece)]
    return WordVectors(tuple(dict.fromkeys(words)), tuple(dict.fromkeys(parts)), vocabulary, tokenizer, rows)


def _plain(piece: str) -> bool:
    return piece.isascii() and piece.isalpha()

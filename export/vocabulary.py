"""The vocabulary of a static router, made for the speed of its tokenizer.

Tokenising is most of what a request costs, so the tokenizer does as little as it can: it splits at white space and takes the
longest known piece (WordPiece without a prefix for inner pieces, so that `(apple` and `well-known` meet the same `apple` and
`known` as elsewhere). Pieces that often stand together without a space, such as `word,`, are one entry: such a compound
is one look-up for the tokenizer, and since rows are summed its row is just the sum of its parts' rows. So compounds change the
speed and nothing else.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from tokenizers import Tokenizer, models, pre_tokenizers

PAD, UNKNOWN = "[PAD]", "[UNK]"
# Longer runs without a space are no words; the greedy search would be quadratic in them.
MAX_CHUNK_CHARS = 64
MIN_PROMPTS = 3
MIN_COMPOUND_COUNT = 8
MAX_COMPOUNDS = 8000
PUNCTUATION = ",.?:"
COMMON_WORDS = 1200

_PIECE = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_PRINTABLE = "".join(map(chr, range(33, 127))).lower()


@dataclass(frozen=True)
class Vocabulary:
    """Entries of a tokenizer by id: V pieces first (PAD and UNKNOWN before all), then compounds of them.

    Attributes:
        pieces: [V] texts.
        compounds: texts of further entries, with the ids of their parts.
    """

    pieces: tuple[str, ...]
    compounds: dict[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.pieces) + len(self.compounds)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Tokenises windows, which the text recipe has normalised already."""
        return _tokenizer([*self.pieces, *self.compounds])

    @cached_property
    def parts(self) -> sp.csr_matrix:
        """[entries, V] how often each piece stands in each entry."""
        lists = [(index,) for index in range(len(self.pieces))] + list(self.compounds.values())
        rows = np.repeat(np.arange(len(lists)), [len(parts) for parts in lists])
        columns = np.fromiter((part for parts in lists for part in parts), np.int64)
        return sp.csr_matrix((np.ones(len(columns), np.float32), (rows, columns)), (len(lists), len(self.pieces)))

    def count(self, windows: Sequence[str], max_tokens: int) -> sp.csr_matrix:
        """[N, V] how often each piece stands in each window, cut to max_tokens entries as at serving."""
        entries = [encoding.ids[:max_tokens] for encoding in self.tokenizer.encode_batch_fast(list(windows))]
        rows = np.repeat(np.arange(len(entries)), [len(ids) for ids in entries])
        columns = np.fromiter((entry for ids in entries for entry in ids), np.int64)
        counts = sp.csr_matrix((np.ones(len(columns), np.float32), (rows, columns)), (len(entries), len(self)))
        return (counts @ self.parts).tocsr()


def derive(windows: Sequence[str], known_words: Iterable[str], known_parts: Iterable[str]) -> Vocabulary:
    """Makes the vocabulary for training windows.

    Args:
        windows: normalised texts.
        known_words: whole words with a known vector, most frequent first.
        known_parts: further pieces with a known vector.
    """
    found = Counter(piece for window in windows for piece in set(_PIECE.findall(window)))
    seen = sorted((piece for piece, prompts in found.items() if prompts >= MIN_PROMPTS), key=lambda p: (-found[p], p))
    known = [word for word in dict.fromkeys(known_words) if len(word) > 1]
    pieces = tuple(dict.fromkeys([PAD, UNKNOWN, *_PRINTABLE, *seen, *known, *known_parts]))
    return Vocabulary(pieces, _compounds(windows, pieces, known))


def _compounds(windows: Sequence[str], pieces: Sequence[str], known: Sequence[str]) -> dict[str, tuple[int, ...]]:
    chunks = Counter(chunk for window in windows for chunk in window.split(" ") if 1 < len(chunk) <= MAX_CHUNK_CHARS)
    frequent = sorted((c for c, count in chunks.items() if count >= MIN_COMPOUND_COUNT), key=lambda c: (-chunks[c], c))
    common = [word + mark for word in known[:COMMON_WORDS] for mark in PUNCTUATION]
    tokenizer = _tokenizer(pieces)
    present = set(pieces)
    compounds: dict[str, tuple[int, ...]] = {}
    for chunk in dict.fromkeys([*frequent, *common]):
        # Every piece is a run of letters or a single other character. So an entry that does not end in a letter never
        # takes the beginning of a longer word, and the parts of any text stay what they are without compounds.
        if chunk in present or chunk[-1] in _LETTERS:
            continue
        parts = tuple(tokenizer.encode_batch_fast([chunk])[0].ids)
        if len(parts) > 1:
            compounds[chunk] = parts
        if len(compounds) == MAX_COMPOUNDS:
            break
    return compounds


def _tokenizer(entries: Sequence[str]) -> Tokenizer:
    model = models.WordPiece(
        {text: index for index, text in enumerate(entries)},
        unk_token=UNKNOWN,
        max_input_chars_per_word=MAX_CHUNK_CHARS,
        continuing_subword_prefix="",
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer

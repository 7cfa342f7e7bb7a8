"""Token ids of whole words, remembered.

A tokenizer that splits at white space and knows nothing across it gives a text the ids of its space-separated chunks,
one after the other. Words repeat, so a look-up for each chunk replaces the library: about 4 us instead of 17 us for 200
characters.
"""

from collections.abc import Callable, Mapping
from itertools import chain

import msgspec

# Bounds of what is remembered beside the vocabulary: 16,384 times at most 0.8 KB, whatever a caller sends.
MOST_CHUNKS = 1 << 14
LONGEST_CHUNK = 64
MOST_IDS = 12
# A text with more unknown chunks goes to the library whole: asking it chunk by chunk would cost more.
MOST_UNKNOWN = 8

Ids = tuple[int, ...]


class _Kind(msgspec.Struct):
    type: str


class _Content(msgspec.Struct):
    """What a tokenizer.json must hold besides its vocabulary, for chunks to be independent of each other."""

    model: _Kind
    normalizer: _Kind | None
    pre_tokenizer: _Kind | None
    post_processor: _Kind | None
    added_tokens: list[object]


def independent(content: bytes) -> bool:
    """Whether the tokenizer of these bytes gives each space-separated chunk ids of its own, and words their own id."""
    try:
        found = msgspec.json.decode(content, type=_Content)
    except msgspec.ValidationError:
        return False
    return (
        found.model.type in {"WordPiece", "WordLevel"}
        and found.pre_tokenizer is not None
        and found.pre_tokenizer.type == "WhitespaceSplit"
        and found.normalizer is None
        and found.post_processor is None
        and not found.added_tokens
    )


class Chunks:
    """Encodes texts from remembered chunks. Safe to call from several threads.

    Args:
        encode: the library, from a text to its ids; not cut.
        vocabulary: words and their ids.
        max_tokens: longer texts are cut to this length.
    """

    def __init__(self, encode: Callable[[str], list[int]], vocabulary: Mapping[str, int], max_tokens: int) -> None:
        self._encode = encode
        self._max_tokens = max_tokens
        words: dict[str, Ids] = {"": ()}
        words |= {word: (number,) for word, number in vocabulary.items() if 0 < len(word) <= LONGEST_CHUNK}
        self._words = words
        self._known = dict(words)
        self._most = len(words) + MOST_CHUNKS

    def __call__(self, text: str) -> list[int]:
        """The ids of a text, at most max_tokens of them."""
        chunks = text.split(" ")
        found = list(map(self._known.get, chunks))
        if None in found and not self._complete(chunks, found):
            return self._encode(text)[: self._max_tokens]
        return list(chain.from_iterable(found))[: self._max_tokens]  # type: ignore[arg-type]  # complete now

    def _complete(self, chunks: list[str], found: list[Ids | None]) -> bool:
        """Fills the gaps; False, and something learned, if there are too many."""
        gaps = [place for place, ids in enumerate(found) if ids is None]
        for place in gaps[:MOST_UNKNOWN]:
            found[place] = ids = tuple(self._encode(chunks[place]))
            if len(chunks[place]) <= LONGEST_CHUNK and len(ids) <= MOST_IDS:
                if len(self._known) >= self._most:
                    self._known = dict(self._words)  # the words of today's traffic come back at once
                self._known[chunks[place]] = ids
        return len(gaps) <= MOST_UNKNOWN

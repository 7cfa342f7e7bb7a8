"""Token ids of whole words, remembered.

A tokenizer that splits at white space and knows nothing across it gives a text the ids of its space-separated chunks,
one after the other. Words repeat, so a look-up for each chunk replaces the library: about 4 us instead of 17 us for 200
characters.

Ids are kept as the bytes that the model reads. To join these is one copy, where a list of numbers costs a visit to every
number, somewhere in memory, for each time that it is walked.
"""

from collections.abc import Callable, Mapping

import msgspec

from sidecar.scoring.packed import ID_BYTES, each_packed, packed
from sidecar.scoring.pieces import WordPieces

# Bounds of what is remembered beside the vocabulary: 16,384 times at most 0.8 KB, whatever a caller sends.
MOST_CHUNKS = 1 << 14
LONGEST_CHUNK = 64
MOST_IDS = 12
# A text with more unknown chunks goes to the library whole: asking it chunk by chunk would cost more.
MOST_UNKNOWN = 8


class _Kind(msgspec.Struct):
    type: str


class Splitting(msgspec.Struct):
    """What a WordPiece model of the library holds beside its vocabulary."""

    unk_token: str
    continuing_subword_prefix: str
    max_input_chars_per_word: int


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


class _Pieces(msgspec.Struct):
    model: Splitting


def splitting_of(content: bytes) -> Splitting | None:
    """How the independent tokenizer of these bytes splits words; None where only the library can do it."""
    try:
        model = msgspec.json.decode(content, type=_Pieces).model
    except msgspec.ValidationError:
        return None
    return None if model.continuing_subword_prefix else model


class Chunks:
    """Encodes texts from remembered chunks. Safe to call from several threads.

    Args:
        encode: the library, from a text to its ids; not cut.
        vocabulary: words and their ids.
        max_tokens: longer texts are cut to this length.
        splitting: how words are split; None where only the library can do it.
    """

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        vocabulary: Mapping[str, int],
        max_tokens: int,
        splitting: Splitting | None = None,
    ) -> None:
        self._encode = encode
        self._most_bytes = max_tokens * ID_BYTES
        words = dict(zip(vocabulary, each_packed(list(vocabulary.values())), strict=True))
        for long in [word for word in words if len(word) > LONGEST_CHUNK]:
            del words[long]
        self._pieces: WordPieces | None = None
        if splitting is not None and splitting.unk_token in words:
            self._pieces = WordPieces(words, splitting.unk_token, splitting.max_input_chars_per_word)
        words[""] = b""
        self._words = words
        self._known = dict(words)
        self._most = len(words) + MOST_CHUNKS

    def __call__(self, text: str) -> bytes:
        """The ids of a text, at most max_tokens of them: packed, as int64 in the machine's order."""
        chunks = text.split(" ")
        found = list(map(self._known.get, chunks))
        # An empty chunk has no ids, which is no gap, but does not occur in a text whose white space is collapsed.
        ids = b"".join(found) if all(found) else self._completed(text, chunks, found)  # type: ignore[arg-type]
        return ids[: self._most_bytes]

    def _completed(self, text: str, chunks: list[str], found: list[bytes | None]) -> bytes:
        """The ids of a text with chunks that are not known; some of these are learned."""
        gaps = [place for place, ids in enumerate(found) if ids is None]
        for place in gaps[:MOST_UNKNOWN]:
            chunk = chunks[place]
            short = len(chunk) <= LONGEST_CHUNK
            # White space of other kinds, by which the library splits too, is not printable.
            if self._pieces is not None and short and chunk.isascii() and chunk.isprintable():
                found[place] = ids = self._pieces(chunk)
            else:
                found[place] = ids = packed(self._encode(chunk))
            if short and len(ids) <= MOST_IDS * ID_BYTES:
                if len(self._known) >= self._most:
                    self._known = dict(self._words)  # the words of today's traffic come back at once
                self._known[chunk] = ids
        if len(gaps) > MOST_UNKNOWN:
            return packed(self._encode(text))
        return b"".join(found)  # type: ignore[arg-type]  # complete now

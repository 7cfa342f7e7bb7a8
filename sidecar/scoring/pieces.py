"""The pieces of one word, as WordPiece finds them: always the longest that the vocabulary has.

Wu et al., Google's Neural Machine Translation System, 2016, section 4.1; the algorithm is that of the Rust library. To
call the library for one word costs more than to look up a few pieces.
"""

from collections.abc import Mapping

# Longest pieces are known by so many first characters: beyond their length nothing need be tried.
_STEM = 4


class WordPieces:
    """Splits words without white space into pieces.

    Args:
        pieces: their packed ids; see sidecar.scoring.packed.
        unknown: the piece that stands for a word which cannot be split.
        most_chars: longer words are unknown.

    Raises:
        KeyError: `unknown` is no piece.
    """

    def __init__(self, pieces: Mapping[str, bytes], unknown: str, most_chars: int) -> None:
        self._unknown = pieces[unknown]
        self._pieces = pieces
        self._most_chars = most_chars
        longest: dict[str, int] = {}
        for piece in pieces:
            stem, length = piece[:_STEM], len(piece)
            if length > longest.get(stem, _STEM - 1):
                longest[stem] = length
        self._longest = longest

    def __call__(self, word: str) -> bytes:
        """The packed ids of a word of at least one character."""
        size = len(word)
        if size > self._most_chars:
            return self._unknown
        ids_of, longest_of = self._pieces.get, self._longest.get
        found: list[bytes] = []
        start = 0
        while start < size:
            end = start + longest_of(word[start : start + _STEM], _STEM - 1)
            if end > size:  # noqa: PLR1730 - a call of min() costs as much as a look-up
                end = size
            while (ids := ids_of(word[start:end])) is None:
                end -= 1
                if end == start:
                    return self._unknown
            found.append(ids)
            start = end
        return b"".join(found)

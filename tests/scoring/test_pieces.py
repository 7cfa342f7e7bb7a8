import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from sidecar.scoring.packed import packed, unpacked
from sidecar.scoring.pieces import WordPieces

UNKNOWN = "[UNK]"
words = st.text(st.sampled_from("abc1"), min_size=1, max_size=12)
vocabularies = st.lists(words, unique=True, max_size=30).map(
    lambda found: {word: number for number, word in enumerate([UNKNOWN, *found])}
)


def pieces_of(vocabulary: dict[str, int]) -> dict[str, bytes]:
    return {word: packed([number]) for word, number in vocabulary.items()}


@given(vocabularies, words, st.integers(1, 12))
def test_a_word_is_split_as_the_library_splits_it(vocabulary: dict[str, int], word: str, most_chars: int) -> None:
    options = {"unk_token": UNKNOWN, "continuing_subword_prefix": "", "max_input_chars_per_word": most_chars}
    library = tokenizers.Tokenizer(models.WordPiece(vocabulary, **options))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert unpacked(WordPieces(pieces_of(vocabulary), UNKNOWN, most_chars)(word)) == library.encode(word).ids


def test_the_longest_piece_comes_first_even_where_the_rest_is_unknown_then() -> None:
    vocabulary = {UNKNOWN: 0, "ab": 1, "a": 2, "bc": 3}
    split = WordPieces(pieces_of(vocabulary), UNKNOWN, 64)
    assert unpacked(split("aab")) == [2, 1]
    assert unpacked(split("abc")) == [0]


def test_a_vocabulary_without_the_unknown_word_is_refused() -> None:
    with pytest.raises(KeyError):
        WordPieces({"a": b""}, UNKNOWN, 64)

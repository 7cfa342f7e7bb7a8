import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from sidecar.scoring import chunks
from sidecar.scoring.chunks import Chunks, Splitting, independent, splitting_of
from sidecar.scoring.packed import unpacked
from sidecar.scoring.padding import fill
from sidecar.scoring.tokenizer import Tokenizer

WORDS = ("[UNK]", "a", "b", "ab", "c", "1", ".", "cab", "le", "able", "é")


@pytest.fixture(scope="module")
def library() -> tokenizers.Tokenizer:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    options = {"unk_token": WORDS[0], "continuing_subword_prefix": "", "max_input_chars_per_word": 64}
    made = tokenizers.Tokenizer(models.WordPiece(vocabulary, **options))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


@pytest.fixture(scope="module")
def tokenizer(library: tokenizers.Tokenizer) -> Tokenizer:
    return Tokenizer(library.to_str().encode(), max_tokens=20, pad_id=0)


texts = st.lists(
    st.text(st.sampled_from("abcle1.é\t\n\u00a0"), max_size=9) | st.text(max_size=4) | st.just("a" * 70), max_size=30
).map(" ".join)


@given(text=texts)
def test_ids_are_those_of_the_library_whatever_was_remembered_before(
    library: tokenizers.Tokenizer, tokenizer: Tokenizer, text: str
) -> None:
    ids, mask = tokenizer([text])
    assert ids[0, : int(mask.sum())].tolist() == library.encode(text).ids[:20]


class Counting:
    """A library that counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str) -> list[int]:
        self.asked.append(text)
        return [len(chunk) for chunk in text.split()]


@given(batch=st.lists(texts, min_size=1, max_size=6))
def test_a_batch_is_laid_out_as_the_library_and_plain_filling_would(
    library: tokenizers.Tokenizer, tokenizer: Tokenizer, batch: list[str]
) -> None:
    rows = [library.encode(text).ids[:20] for text in batch]
    for got, wanted in zip(tokenizer(batch), fill(rows, 0), strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == wanted.dtype
        assert got.flags.c_contiguous
    assert tokenizer.rows(batch) == [row or [0] for row in rows]


def test_the_library_is_asked_once_for_a_chunk_and_never_for_a_word() -> None:
    encode = Counting()
    known = Chunks(encode, {"word": 7}, 100)
    assert unpacked(known("word other word other,")) == [7, 5, 7, 6]
    assert unpacked(known("other word")) == [5, 7]
    assert encode.asked == ["other", "other,"]


def test_a_text_of_many_unknown_chunks_goes_to_the_library_whole() -> None:
    encode = Counting()
    text = " ".join(f"chunk{number}" for number in range(chunks.MOST_UNKNOWN + 1))
    assert unpacked(Chunks(encode, {}, 4)(text)) == [6] * 4
    assert encode.asked[-1] == text


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MOST_CHUNKS", 10)
    known = Chunks(Counting(), {}, 100)
    for number in range(100):
        known(f"chunk{number}")
        known("x" * (chunks.LONGEST_CHUNK + 1 + number))
        assert len(known._known) <= 10 + len(known._words)


def test_a_chunk_of_many_ids_is_not_remembered() -> None:
    asked: list[str] = []

    def encode(text: str) -> list[int]:
        asked.append(text)
        return [1] * (chunks.MOST_IDS + (text == "long"))

    known = Chunks(encode, {}, 1000)
    for _ in range(2):
        known("short")
        known("long")
    assert asked == ["short", "long", "long"]


def test_only_tokenizers_that_know_nothing_across_white_space_qualify(library: tokenizers.Tokenizer) -> None:
    content = json.loads(library.to_str())
    assert independent(json.dumps(content).encode())
    for change in (
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"normalizer": {"type": "Lowercase"}},
        {"post_processor": {"type": "TemplateProcessing"}},
        {"added_tokens": [{"id": 1}]},
        {"model": {**content["model"], "type": "BPE"}},
    ):
        assert not independent(json.dumps({**content, **change}).encode())


def test_where_words_can_be_split_here_the_library_is_asked_for_others_only() -> None:
    encode = Counting()
    known = Chunks(encode, {"?": 1, "a": 2, "ab": 3}, 100, Splitting("?", "", 9))
    long = "a" * (chunks.LONGEST_CHUNK + 1)
    assert unpacked(known(f"aab größe ab\x07cd abc {long} aab")) == [2, 3, 5, 5, 1, len(long), 2, 3]
    assert encode.asked == ["größe", "ab\x07cd", long]


def test_without_a_piece_for_unknown_words_the_library_splits() -> None:
    encode = Counting()
    assert unpacked(Chunks(encode, {"a": 2}, 100, Splitting("?", "", 9))("aa")) == [2]
    assert encode.asked == ["aa"]


def test_a_tokenizer_with_marks_on_its_later_pieces_is_left_to_the_library(library: tokenizers.Tokenizer) -> None:
    content = json.loads(library.to_str())
    assert splitting_of(json.dumps(content).encode()) == Splitting(WORDS[0], "", 64)
    marked = {**content, "model": {**content["model"], "continuing_subword_prefix": "##"}}
    assert splitting_of(json.dumps(marked).encode()) is None
    assert splitting_of(b'{"model":{"type":"WordLevel","unk_token":"[UNK]"}}') is None

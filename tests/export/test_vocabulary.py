"""The vocabulary: compounds make it quicker and change nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.vocabulary import PAD, UNKNOWN, Vocabulary, derive

WINDOWS = [f"the (apple), well-known x^2+3y=5 costs $12.50 item {i}." for i in range(12)]
KNOWN = ("apple", "known", "well", "quick", "pie")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return derive(WINDOWS, KNOWN, ("ing", "ed"))


def test_padding_and_unknown_come_first(vocabulary: Vocabulary) -> None:
    assert vocabulary.pieces[:2] == (PAD, UNKNOWN)
    assert len(set(vocabulary.pieces)) == len(vocabulary.pieces)


def test_frequent_chunks_are_compounds_of_their_parts(vocabulary: Vocabulary) -> None:
    parts = vocabulary.compounds["(apple),"]
    assert [vocabulary.pieces[part] for part in parts] == ["(", "apple", ")", ","]


def test_no_compound_ends_where_a_word_could_go_on(vocabulary: Vocabulary) -> None:
    assert not any(chunk[-1].isalpha() and chunk[-1].isascii() for chunk in vocabulary.compounds)


def test_inner_pieces_are_those_of_whole_words(vocabulary: Vocabulary) -> None:
    assert vocabulary.tokenizer.encode("(apple) quick-pie").tokens == ["(", "apple", ")", "quick", "-", "pie"]


def test_a_chunk_out_of_reach_is_unknown(vocabulary: Vocabulary) -> None:
    assert vocabulary.tokenizer.encode("\u4f60\u597d").tokens == [UNKNOWN]


_TEXT = st.text(st.sampled_from("apliewknown (),.$^+=x123 \u00e9-"), max_size=80)


@given(_TEXT)
def test_compounds_change_nothing_but_the_speed(text: str) -> None:
    full = derive(WINDOWS, KNOWN, ("ing", "ed"))
    plain = Vocabulary(full.pieces, {})
    windows = [" ".join(text.split())]
    difference = full.count(windows, 512) - plain.count(windows, 512)
    assert np.abs(difference).sum() == 0


def test_counts_stop_at_the_limit(vocabulary: Vocabulary) -> None:
    assert vocabulary.count(["apple " * 20], 5).sum() == 5

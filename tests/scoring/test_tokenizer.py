import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models

from sidecar.errors import BundleError
from sidecar.scoring.tokenizer import Tokenizer

UNKNOWN = "[UNK]"


@pytest.fixture(scope="module")
def content(tiny_bundle: Path) -> bytes:
    return (tiny_bundle / "tokenizer.json").read_bytes()


@pytest.fixture(scope="module")
def tokenizer(content: bytes) -> Tokenizer:
    return Tokenizer(content, max_tokens=8, pad_id=3)


def test_one_text_needs_no_padding(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer(["what is the capital"])
    assert ids.shape == mask.shape == (1, 4)
    assert ids.dtype == mask.dtype == np.int64
    assert mask.all()
    assert ids.flags.c_contiguous
    assert mask.flags.c_contiguous


def test_a_batch_is_filled_up_with_the_pad_id(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer(["the", "what is the capital"])
    assert ids[0, 0] == ids[1, 2]
    assert ids[0, 1:].tolist() == [3, 3, 3]
    assert mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 1]]


def test_long_texts_are_cut(tokenizer: Tokenizer) -> None:
    ids, _ = tokenizer(["cook rice " * 100])
    assert ids.shape == (1, 8)


def test_a_text_without_tokens_is_one_masked_position(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer([" "])
    assert (ids.tolist(), mask.tolist()) == ([[3]], [[0]])


@settings(max_examples=100)
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=6))
def test_a_text_gets_the_same_tokens_alone_and_in_a_batch(tokenizer: Tokenizer, texts: list[str]) -> None:
    ids, mask = tokenizer(texts)
    for row, text in enumerate(texts):
        alone, alone_mask = tokenizer([text])
        assert ids[row][mask[row] == 1].tolist() == alone[alone_mask == 1].tolist()


def test_the_shared_mask_cannot_be_spoiled(tokenizer: Tokenizer) -> None:
    _, mask = tokenizer(["the"])
    with pytest.raises(ValueError, match="read-only"):
        mask[0, 0] = 0


def test_threads_do_not_disturb_each_other(tokenizer: Tokenizer) -> None:
    texts = [["what is the capital", "cook " * row] for row in range(1, 9)] * 50
    expected = [tokenizer(batch)[0].tolist() for batch in texts]
    with ThreadPoolExecutor(4) as pool:
        assert [ids.tolist() for ids, _ in pool.map(tokenizer, texts)] == expected


def test_the_library_starts_no_threads_of_its_own() -> None:
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"


def test_padding_and_truncation_of_the_file_do_not_count(content: bytes) -> None:
    configured = tokenizers.Tokenizer.from_str(content.decode())
    configured.enable_padding(length=30, pad_id=1)
    configured.enable_truncation(2)
    ids, _ = Tokenizer(configured.to_str().encode(), max_tokens=8, pad_id=3)(["what is the capital"])
    assert ids.shape == (1, 4)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"version":"1.0","model":{"type":"Nothing"}}'])
def test_what_is_no_tokenizer_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"^tokenizer.json: is not a usable tokenizer: "):
        Tokenizer(content, max_tokens=8, pad_id=0)


def test_a_tokenizer_that_knows_no_unknown_word_is_refused_at_load() -> None:
    content = b'{"version":"1.0","model":{"type":"WordLevel","vocab":{"b":0},"unk_token":"[UNK]"}}'
    with pytest.raises(BundleError, match=r"^tokenizer.json: is not a usable tokenizer: .*UNK"):
        Tokenizer(content, max_tokens=8, pad_id=0)


@pytest.mark.parametrize("pad_id", [-1, 10_000])
def test_the_pad_id_must_be_one_of_its_ids(content: bytes, pad_id: int) -> None:
    with pytest.raises(BundleError, match=f"the manifest pads with {pad_id}"):
        Tokenizer(content, max_tokens=8, pad_id=pad_id)


@pytest.mark.parametrize(
    ("model", "added", "last"),
    [
        (models.WordLevel({UNKNOWN: 0, "b": 41}, UNKNOWN), [], 41),
        (models.WordLevel({UNKNOWN: 0}, UNKNOWN), [UNKNOWN, "[CLS]"], 1),
        (models.Unigram([(UNKNOWN, 0.0), ("a", -1.0), ("b", -2.0)], 0), [], 2),
        (models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]), [], 2),
    ],
)
def test_the_last_id_is_known_for_every_kind_of_vocabulary(model: models.Model, added: list[str], last: int) -> None:
    built = tokenizers.Tokenizer(model)
    built.add_special_tokens(added)
    assert Tokenizer(built.to_str().encode(), max_tokens=8, pad_id=0).last_id == last


def test_a_fault_of_the_library_is_a_refusal_and_an_interrupt_is_not(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        """Stands for the library's panic, which is no Exception either."""

    for raised, seen in ((Panic, BundleError), (KeyboardInterrupt, KeyboardInterrupt)):
        monkeypatch.setattr("sidecar.scoring.tokenizer._last_id", Mock(side_effect=raised))
        with pytest.raises(seen):
            Tokenizer(content, max_tokens=8, pad_id=0)

import random

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from sidecar.transport.http2 import huffman
from sidecar.transport.http2.huffman import BadHuffman

ORACLE = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


@pytest.fixture(params=["fresh", "used"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder as it starts, or as other tests left it."""
    if request.param == "fresh":
        monkeypatch.setattr(huffman, "_STEPS", [[] for _ in huffman._STEPS])


def test_the_code_is_that_of_appendix_b() -> None:
    assert huffman.codes() == list(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))


def test_every_symbol_is_read_wherever_in_a_byte_it_begins(rows: None) -> None:
    for symbol in range(256):
        for before in range(8):
            text = before * b"0" + bytes((symbol,))
            assert huffman.decode(ORACLE.encode(text)) == text


@given(st.binary(max_size=100))
def test_what_was_coded_is_read(text: bytes) -> None:
    assert huffman.decode(ORACLE.encode(text)) == text


def test_a_long_string_is_read(rows: None) -> None:
    text = random.Random(1).randbytes(100_000)
    assert huffman.decode(ORACLE.encode(text)) == text


@pytest.mark.parametrize("padding", range(8))
def test_up_to_seven_ones_fill_a_string_up(padding: int, rows: None) -> None:
    # As many codes of five bits as leave so many to fill.
    count = next(count for count in range(8) if -5 * count % 8 == padding)
    whole = bytes((5 * count + 7) // 8)
    coded = (int.from_bytes(whole) | (1 << padding) - 1).to_bytes(len(whole))
    assert huffman.decode(coded) == count * b"0"
    with pytest.raises(BadHuffman):
        huffman.decode(coded + b"\xff")
    if padding:
        with pytest.raises(BadHuffman):
            huffman.decode((int.from_bytes(coded) ^ 1).to_bytes(len(whole)))


@pytest.mark.parametrize("before", range(8))
def test_the_end_of_string_is_refused_wherever_it_begins(before: int, rows: None) -> None:
    bits = before * "00000" + 30 * "1" + "00000"
    bits += -len(bits) % 8 * "1"
    with pytest.raises(BadHuffman):
        huffman.decode(int(bits, 2).to_bytes(len(bits) // 8))

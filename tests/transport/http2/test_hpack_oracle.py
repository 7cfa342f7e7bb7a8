"""Over whole connections the decoder does as PyPI's `hpack` does (pair.py says in what not)."""

from typing import NamedTuple

import pytest
from hpack import Encoder
from hpack.hpack import encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.transport.http2.hpack import CompressionError, Decoder, Field, HeadersTooLarge
from sidecar.transport.http2.static_table import STATIC_FIELDS
from tests.transport.http2.pair import MOST, Pair, table


class Block(NamedTuple):
    """What an encoder is given for one block."""

    fields: list[Field]
    sensitive: bool
    huffman: bool
    sizes: list[int]


names = st.sampled_from([*(name for name, _ in STATIC_FIELDS), b"grpc-timeout", b"te", b"x-1"]) | st.binary(max_size=40)
values = st.sampled_from([b"", b"POST", b"trailers", b"1999876u", b"54m", bytes(4050), bytes(4096)]) | st.binary(
    max_size=200
)
fields = st.tuples(names, values)
sizes = st.lists(st.sampled_from([0, 31, 32, 33, 64, 100, 1000, 4096]) | st.integers(0, 4096), max_size=2)
blocks = st.builds(Block, st.lists(fields, max_size=12), st.booleans(), st.booleans(), sizes | st.just([]))


def encoded(encoder: Encoder, block: Block) -> bytes:
    """What this encoder sends for the block."""
    for size in block.sizes:
        # Told the size that it has, it forgets to send the one before.
        if size != encoder.header_table_size:
            encoder.header_table_size = size
    return encoder.encode([(name, value, block.sensitive) for name, value in block.fields], huffman=block.huffman)


@given(st.lists(blocks, max_size=12))
def test_what_an_encoder_sends_is_read(sent: list[Block]) -> None:
    encoder, pair = Encoder(), Pair()
    for block in sent:
        assert pair.decode(encoded(encoder, block)) == block.fields
        assert table(pair.ours) == list(encoder.header_table.dynamic_entries)


@given(st.lists(blocks, max_size=6))
def test_while_changes_stays_a_block_reads_the_same_again(sent: list[Block]) -> None:
    encoder, decoder = Encoder(), Decoder(max_list_bytes=MOST)
    for block in sent:
        coded = encoded(encoder, block)
        before = decoder.changes
        first = decoder.decode(coded)
        if decoder.changes == before:
            assert decoder.decode(coded) == first
            assert decoder.changes == before


# --- Blocks that no encoder sends ------------------------------------------------------------------------------------


def number(value: int, bits: int, first: int) -> bytes:
    """A number behind the bits of `first` (section 5.1)."""
    coded = encode_integer(value, bits)
    coded[0] |= first
    return bytes(coded)


def string(value: bytes, *, flag: bool) -> bytes:
    """A string as it is, with the flag for Huffman coding or without."""
    return number(len(value), 7, 0x80 if flag else 0) + value


def joined(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """One of each, in this order."""
    return st.tuples(*parts).map(b"".join)


def block_of(
    indices: st.SearchStrategy[int], strings: st.SearchStrategy[bytes], *others: st.SearchStrategy[bytes]
) -> st.SearchStrategy[bytes]:
    """Table sizes, then fields of all representations with these parts."""
    prefixes = st.sampled_from([(6, 0x40), (4, 0x00), (4, 0x10)])
    pieces = st.one_of(
        indices.map(lambda index: number(index, 7, 0x80)),
        joined(st.builds(lambda index, prefix: number(index, *prefix), indices, prefixes), strings),
        joined(prefixes.map(lambda prefix: bytes(prefix[1:])), strings, strings),
        *others,
    )
    return joined(st.lists(resizes, max_size=2).map(b"".join), st.lists(pieces, max_size=8).map(b"".join))


HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
resizes = st.sampled_from([0, 32, 100, 4095, 4096]).map(lambda size: number(size, 5, 0x20))
strings = values.map(lambda value: string(value, flag=False)) | values.map(
    lambda value: string(HUFFMAN.encode(value), flag=True)
)
# Most of them sound as long as no index is beyond the table, most of the others not.
odd = block_of(st.sampled_from([1, 15, 16, 61]) | st.integers(1, 64), strings)
wild = block_of(
    st.integers(0, 300),
    strings | st.binary(max_size=8).map(lambda value: string(value, flag=True)),
    st.integers(4090, 4100).map(lambda size: number(size, 5, 0x20)),
    st.binary(min_size=1, max_size=6).map(lambda rest: b"\xff" + rest),
)
whatever = st.lists(odd | odd | wild | st.binary(max_size=60), max_size=8)


@given(whatever)
@example([b"\x20\x20\x20"])
def test_whatever_comes_both_read_the_same_or_refuse_it(sent: list[bytes]) -> None:
    pair = Pair()
    for block in sent:
        if pair.decode(block) is None:
            break


class Change(NamedTuple):
    """What happens to a block on its way."""

    kind: str
    place: int
    byte: int


changes = st.builds(
    Change, st.sampled_from(["flip", "put", "insert", "drop", "cut"]), st.integers(0, 400), st.integers(0, 255)
)


def changed(block: bytes, change: Change) -> bytes:
    """The block after it."""
    at = change.place % (len(block) + 1)
    head, tail = block[:at], block[at:]
    match change.kind:
        case "flip":
            return head + bytes(byte ^ 1 << change.byte % 8 for byte in tail[:1]) + tail[1:]
        case "put":
            return head + bytes((change.byte,)) + tail[1:]
        case "insert":
            return head + bytes((change.byte,)) + tail
        case "drop":
            return head + tail[1:]
        case _:
            return head


@given(st.lists(st.tuples(blocks, st.lists(changes, max_size=3) | st.just([])), max_size=10))
def test_blocks_changed_on_their_way_are_read_alike_until_one_is_refused(
    sent: list[tuple[Block, list[Change]]],
) -> None:
    encoder, pair = Encoder(), Pair()
    for block, way in sent:
        coded = encoded(encoder, block)
        for change in way:
            coded = changed(coded, change)
        if pair.decode(coded) is None:
            break


@given(whatever, st.integers(0, 300), st.sampled_from([0, 64, 4096, 65536]))
def test_whatever_comes_and_is_allowed_nothing_else_is_raised(sent: list[bytes], most: int, table: int) -> None:
    decoder, whole = Decoder(table, most), Decoder(table, MOST)
    for block in sent:
        try:
            expected = whole.decode(block)
        except CompressionError:
            with pytest.raises(CompressionError):
                decoder.decode(block)
            break
        if sum(len(name) + len(value) + 32 for name, value in expected) > most:
            with pytest.raises(HeadersTooLarge):
                decoder.decode(block)
        else:
            assert decoder.decode(block) == expected
        assert (decoder._fields, decoder._sizes) == (whole._fields, whole._sizes)

"""What the decoder refuses, what its table holds, and its bounds."""

import tracemalloc

import pytest

from sidecar.transport.http2.hpack import CompressionError, Decoder, HeadersTooLarge
from tests.transport.http2.pair import table

GET = (b":method", b"GET")
TABLE_BYTES = 4096


def literal(value: bytes, first: bytes = b"\x40\x01x") -> bytes:
    """A field that enters the table, with a value of any length below 16,512."""
    short = len(value) < 0x7F
    rest = len(value) - 0x7F
    return first + (bytes((len(value),)) if short else bytes((0x7F, rest & 0x7F | 0x80, rest >> 7))) + value


# --- What breaks the RFC ---------------------------------------------------------------------------------------------

BROKEN = {
    "index 0": "80",
    "index one beyond the static table": "be",
    "index far beyond the tables": "ffffff01",
    "name of an index beyond the tables": "7e0161",
    "name of an index beyond the tables, not indexed": "0f2f0161",
    "number cut off": "ff",
    "number cut off where it goes on": "ff80",
    "number in six continuations": "4001617f808080808000" + 127 * "62",
    "name cut off before its length": "40",
    "name cut off": "400261",
    "value cut off before its length": "400161",
    "value cut off": "4001610261",
    "value cut off, Huffman": "40016182ff",
    "value longer than any block": "4001617fffffff7f",
    "size above what is allowed": "3fe21f",
    "size after a field": "8220",
    "three sizes": "202020",
    "padding of eight ones": "40016181ff",
    "padding of zeros": "4001618118",
    "end of string coded": "40016184ffffffff",
    "end of string coded before a symbol": "40016185fffffffc1f",
    "code cut off": "40016181fe",
    "name with a padding of zeros": "40811801" + "61",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_rfc_is_refused(name: str) -> None:
    decoder = Decoder()
    assert decoder.decode(b"\x82") == [GET]
    with pytest.raises(CompressionError):
        decoder.decode(bytes.fromhex(BROKEN[name]))


def test_a_number_above_two_to_the_32_is_refused_as_such() -> None:
    for block in ("3fe2ffffff0f", "3fffffffff7f"):
        with pytest.raises(CompressionError, match="number above"):
            Decoder().decode(bytes.fromhex(block))
    with pytest.raises(CompressionError, match="table of 4294967296 bytes"):
        Decoder().decode(bytes.fromhex("3fe1ffffff0f"))


SOUND = {
    "two sizes": ("203fe11f82", [GET]),
    "nothing": ("", []),
    "a size and no field": ("20", []),
    "number in five continuations": ("4001617f8080808000" + 127 * "62", [(b"a", 127 * b"b")]),
    "padding of seven ones": ("400161840000007f", [(b"a", b"00000")]),
    "empty Huffman string": ("40016180", [(b"a", b"")]),
    "empty name": ("40000161", [(b"", b"a")]),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_at_the_edge_is_taken(name: str) -> None:
    block, expected = SOUND[name]
    assert Decoder().decode(bytes.fromhex(block)) == expected


# --- The table -------------------------------------------------------------------------------------------------------


def test_a_field_as_large_as_the_table_is_alone_in_it() -> None:
    decoder = Decoder()
    decoder.decode(literal(b"early"))
    value = bytes(TABLE_BYTES - 32 - 1)
    decoder.decode(literal(value))
    assert table(decoder) == [(b"x", value)]


def test_a_field_larger_than_the_table_empties_it() -> None:
    decoder = Decoder()
    decoder.decode(literal(b"early"))
    value = bytes(TABLE_BYTES - 32)
    assert decoder.decode(literal(value)) == [(b"x", value)]
    assert table(decoder) == []
    with pytest.raises(CompressionError):
        decoder.decode(b"\xbe")


def test_a_name_may_be_that_of_the_field_that_its_own_entry_evicts() -> None:
    # Section 4.4 warns of this case.
    decoder = Decoder(64)
    decoder.decode(literal(b"1"))
    assert decoder.decode(literal(b"2", b"\x7e")) == [(b"x", b"2")]
    assert table(decoder) == [(b"x", b"2")]


def test_a_smaller_table_evicts_the_oldest_at_once() -> None:
    decoder = Decoder()
    decoder.decode(literal(b"1") + literal(b"2"))
    decoder.decode(b"\x3f\x03")  # 34 bytes: one entry
    assert table(decoder) == [(b"x", b"2")]
    decoder.decode(b"\x20\x3f\x03")
    assert table(decoder) == []


def test_a_large_table_begins_as_every_connection_does_until_the_peer_enlarges_it() -> None:
    decoder = Decoder(65536)
    decoder.decode(literal(bytes(3000), b"\x40\x01a") + literal(bytes(3000), b"\x40\x01b"))
    assert [name for name, _ in table(decoder)] == [b"b"]
    decoder.decode(b"\x3f\xe1\xff\x03" + literal(bytes(3000), b"\x40\x01c"))
    assert [name for name, _ in table(decoder)] == [b"c", b"b"]


def test_changes_grows_with_the_table_and_its_size_and_with_nothing_else() -> None:
    decoder = Decoder()
    for block, grows in (
        (b"\x82\x86", False),
        (literal(b"1"), True),
        (b"\xbe", False),
        (literal(b"2", b"\x00\x01x"), False),
        (literal(b"2", b"\x10\x01x"), False),
        (b"\x3f\xe1\x1f\xbe", False),  # the size it has
        (b"\x3f\x03", True),
        (b"\x20\x3f\x03", True),  # it ends as it was, but empty
        (literal(bytes(40)), True),
    ):
        before = decoder.changes
        decoder.decode(block)
        assert (decoder.changes > before) == grows, block


# --- Bounds ----------------------------------------------------------------------------------------------------------


def test_a_list_may_have_as_many_bytes_as_were_allowed_and_no_more() -> None:
    size = len(b"".join(GET)) + 32
    assert Decoder(max_list_bytes=2 * size).decode(b"\x82\x82") == [GET, GET]
    for block in (b"\x82\x82", b"\x82" + literal(b"GET", b"\x00\x07:method"), b"\x82" + literal(b"GET", b"\x02")):
        with pytest.raises(HeadersTooLarge):
            Decoder(max_list_bytes=2 * size - 1).decode(block)


def test_after_a_list_that_is_too_large_the_tables_are_in_step() -> None:
    small, large = Decoder(max_list_bytes=100), Decoder(max_list_bytes=1 << 20)
    block = b"\x20\x3f\xe1\x1f" + literal(b"1") + 9 * b"\x82" + literal(bytes(200)) + literal(b"3") + b"\xbe\xbf"
    large.decode(block)
    with pytest.raises(HeadersTooLarge):
        small.decode(block)
    assert table(small) == table(large)
    assert small.changes == large.changes
    assert small.decode(b"\xbe") == [(b"x", b"3")]


def test_a_block_that_is_both_too_large_and_broken_ends_the_connection() -> None:
    with pytest.raises(CompressionError):
        Decoder(max_list_bytes=100).decode(9 * b"\x82" + b"\x80")


def test_thousands_of_references_to_one_large_field_make_no_list() -> None:
    decoder = Decoder()
    decoder.decode(literal(bytes(4000)))
    bomb = 100_000 * b"\xbe"
    tracemalloc.start()
    try:
        with pytest.raises(HeadersTooLarge):
            decoder.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_however_many_fields_enter_the_table_holds_what_was_allowed() -> None:
    decoder = Decoder(max_list_bytes=1 << 20)
    decoder.decode(20_000 * b"\x40\x00\x00")
    assert table(decoder) == TABLE_BYTES // 32 * [(b"", b"")]
    assert decoder._used_bytes == TABLE_BYTES

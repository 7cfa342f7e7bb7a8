"""The examples of RFC 7541, appendix C, and what is refused or bounded."""

import tracemalloc

import pytest

from sidecar.transport.http2.hpack import CompressionError, Decoder, Field, HeadersTooLarge
from sidecar.transport.http2.static_table import STATIC_FIELDS

GET = (b":method", b"GET")
TABLE_BYTES = 4096


def table(decoder: Decoder) -> list[Field]:
    """The dynamic table's fields, the newest first."""
    return decoder._fields[1 + len(STATIC_FIELDS) :]


def fields(text: str) -> list[Field]:
    """Written as in the RFC: one `name: value` a line."""
    pairs = [
        line.strip().rsplit(": ", 1) if line.count(": ") == 1 else line.strip().split(": ", 1)
        for line in text.strip().splitlines()
    ]
    return [(name.encode(), value.encode()) for name, value in pairs]


def literal(value: bytes, first: bytes = b"\x40\x01x") -> bytes:
    """A field that enters the table, with a value of any length below 16,512."""
    short = len(value) < 0x7F
    rest = len(value) - 0x7F
    return first + (bytes((len(value),)) if short else bytes((0x7F, rest & 0x7F | 0x80, rest >> 7))) + value


# --- Appendix C ------------------------------------------------------------------------------------------------------

ALONE = {
    "C.2.1 literal with indexing": (
        "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
        "custom-key: custom-header",
        True,
    ),
    "C.2.2 literal without indexing": ("040c2f73616d706c652f70617468", ":path: /sample/path", False),
    "C.2.3 literal never indexed": ("100870617373776f726406736563726574", "password: secret", False),
    "C.2.4 indexed": ("82", ":method: GET", False),
}


@pytest.mark.parametrize("name", ALONE)
def test_the_rfcs_single_fields_are_read(name: str) -> None:
    block, expected, enters = ALONE[name]
    decoder = Decoder()
    assert decoder.decode(bytes.fromhex(block)) == fields(expected)
    assert table(decoder) == (fields(expected) if enters else [])
    assert bool(decoder.changes) == enters


REQUESTS = (
    """:method: GET
    :scheme: http
    :path: /
    :authority: www.example.com""",
    """:method: GET
    :scheme: http
    :path: /
    :authority: www.example.com
    cache-control: no-cache""",
    """:method: GET
    :scheme: https
    :path: /index.html
    :authority: www.example.com
    custom-key: custom-value""",
)
TABLE_AFTER_REQUESTS = """custom-key: custom-value
cache-control: no-cache
:authority: www.example.com"""
RESPONSES = (
    """:status: 302
    cache-control: private
    date: Mon, 21 Oct 2013 20:13:21 GMT
    location: https://www.example.com""",
    """:status: 307
    cache-control: private
    date: Mon, 21 Oct 2013 20:13:21 GMT
    location: https://www.example.com""",
    """:status: 200
    cache-control: private
    date: Mon, 21 Oct 2013 20:13:22 GMT
    location: https://www.example.com
    content-encoding: gzip
    set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1""",
)
TABLE_AFTER_RESPONSES = """set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1
content-encoding: gzip
date: Mon, 21 Oct 2013 20:13:22 GMT"""
# Blocks, lists, the table's limit, its fields at the end and their bytes.
SEQUENCES = {
    "C.3 requests": (
        (
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ),
        REQUESTS,
        4096,
        TABLE_AFTER_REQUESTS,
        164,
    ),
    "C.4 requests, Huffman": (
        (
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ),
        REQUESTS,
        4096,
        TABLE_AFTER_REQUESTS,
        164,
    ),
    "C.5 responses that evict": (
        (
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
        ),
        RESPONSES,
        256,
        TABLE_AFTER_RESPONSES,
        215,
    ),
    "C.6 responses that evict, Huffman": (
        (
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ),
        RESPONSES,
        256,
        TABLE_AFTER_RESPONSES,
        215,
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_rfcs_sequences_are_read_and_leave_its_tables(name: str) -> None:
    blocks, lists, limit, left, used = SEQUENCES[name]
    decoder = Decoder(limit)
    for block, expected in zip(blocks, lists, strict=True):
        assert decoder.decode(bytes.fromhex(block)) == fields(expected)
    assert table(decoder) == fields(left)
    assert decoder._used_bytes == used


def test_the_rfcs_long_number_is_read() -> None:
    # C.1.2: 1337 in a prefix of five bits.
    block = bytes.fromhex("3f9a0a")
    Decoder(1337).decode(block)
    with pytest.raises(CompressionError, match="1337 bytes, where 1336"):
        Decoder(1336).decode(block)


# --- What breaks the RFC ---------------------------------------------------------------------------------------------

BROKEN = {
    "index 0": "80",
    "index one beyond the static table": "be",
    "index far beyond the tables": "ffffff01",
    "name of an index beyond the tables": "7e0161",
    "name of an index beyond the tables, not indexed": "0f2f0161",
    "number cut off": "ff",
    "number cut off where it goes on": "ff80",
    "number of six continuations": "ff808080808000",
    "number above 2 ** 32": "3fffffffff7f",
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

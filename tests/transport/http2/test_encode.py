import pytest
from hpack import Decoder as Oracle
from hypothesis import given
from hypothesis import strategies as st

from sidecar.transport.http2.encode import indexed_name, literal
from sidecar.transport.http2.hpack import Decoder
from sidecar.transport.http2.static_table import STATIC_FIELDS

# Around each length at which a number gets another byte: 127, 127 + 128, 127 + 128 ** 2.
LENGTHS = [edge + off for edge in (0, 127, 255, 16511) for off in (-1, 0, 1) if edge + off >= 0]
strings = st.binary(max_size=300) | st.sampled_from(LENGTHS).map(bytes)


def test_the_rfcs_examples_are_written() -> None:
    assert literal(b"te", b"trailers").hex() == "0002746508747261696c657273"
    assert indexed_name(4, b"/sample/path").hex() == "040c2f73616d706c652f70617468"  # C.2.2
    assert indexed_name(31, b"").hex() == "0f1000"


@given(strings, strings)
def test_a_literal_is_read_as_it_was_written_and_enters_no_table(name: bytes, value: bytes) -> None:
    block = literal(name, value)
    decoder, oracle = Decoder(max_list_bytes=1 << 20), Oracle(1 << 20)
    assert decoder.decode(block) == [(name, value)]
    assert [tuple(field) for field in oracle.decode(block, raw=True)] == [(name, value)]
    assert decoder.changes == len(oracle.header_table.dynamic_entries) == 0


@pytest.mark.parametrize("index", range(1, 62))
def test_a_name_by_index_is_that_of_the_static_table(index: int) -> None:
    for length in LENGTHS:
        field = (STATIC_FIELDS[index - 1][0], bytes(length))
        assert Decoder(max_list_bytes=1 << 20).decode(indexed_name(index, field[1])) == [field]
        assert [tuple(read) for read in Oracle(1 << 20).decode(indexed_name(index, field[1]), raw=True)] == [field]

from itertools import islice

import hpack
import pytest

from benchmarks.go_headers import TABLE_BYTES, Encoder, huffman, new_timeouts, steady_timeouts

FIXED = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    ("user-agent", "grpc-go/1.65.0"),
    ("te", "trailers"),
]


@pytest.mark.parametrize("timeouts", [steady_timeouts, new_timeouts])
def test_blocks_mean_what_was_encoded_also_when_entries_leave_the_table(timeouts: type) -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    for timeout in islice(timeouts(), 1000):
        fields = [*FIXED, ("grpc-timeout", timeout)]
        told = decoder.decode(encoder.block(fields), raw=True)
        assert [(bytes(name), bytes(value)) for name, value in told] == [(n.encode(), v.encode()) for n, v in fields]
    assert decoder.header_table._current_size <= TABLE_BYTES


def test_a_steady_block_is_all_indices_and_a_new_timeout_is_a_literal_that_enters_the_table() -> None:
    encoder = Encoder()
    first = encoder.block([*FIXED, ("grpc-timeout", "9999999u")])
    again = encoder.block([*FIXED, ("grpc-timeout", "9999999u")])
    other = encoder.block([*FIXED, ("grpc-timeout", "9999998u")])
    assert len(again) == len(FIXED) + 1 < len(first)
    # One byte of an index for each field, one for the name of the timeout, one for the length, and 48 bits of value.
    assert len(other) == len(FIXED) + 1 + 1 + 6
    assert encoder.block([("grpc-timeout", "9999998u")]) == b"\xbe"


@pytest.mark.parametrize("value", ["9999999u", "0123456789m", "00000000"])
def test_huffman_code_is_that_of_the_rfc(value: str) -> None:
    coded = huffman(value)
    assert coded[0] == 0x80 | len(coded) - 1
    assert coded[1:] == hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    ).encode(value.encode())


@pytest.mark.parametrize("value", ["trailers", "3"])
def test_what_would_not_be_shorter_or_is_not_known_stays_as_it_is(value: str) -> None:
    assert huffman(value) == b""

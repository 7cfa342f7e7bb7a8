import pytest

from benchmarks.client import UNAVAILABLE
from benchmarks.hpack import HeaderError, first_block, grpc_status, later_block, timeout_field


def literal(name: bytes, value: bytes, first: int = 0x00) -> bytes:
    return bytes((first, len(name))) + name + bytes((len(value),)) + value


@pytest.mark.parametrize("first", [0x00, 0x10, 0x40])
@pytest.mark.parametrize("status", [0, 3, 14])
def test_the_status_is_found_in_every_kind_of_literal(first: int, status: int) -> None:
    block = b"\x20" + literal(b"grpc-message", b"why", first) + literal(b"grpc-status", b"%d" % status, first)
    assert grpc_status(block) == status


def test_a_refusal_without_a_body_has_its_status_beside_the_other_headers() -> None:
    content_type = b"\x5f\x10application/grpc"
    assert grpc_status(b"\x88" + content_type + literal(b"grpc-status", b"12")) == 12


def test_a_stream_that_ends_without_headers_is_unavailable() -> None:
    assert grpc_status(b"") == UNAVAILABLE


def test_a_reference_to_a_forbidden_table_is_told() -> None:
    with pytest.raises(HeaderError, match="header table"):
        grpc_status(b"\xbe")


def test_headers_without_a_status_are_told() -> None:
    with pytest.raises(HeaderError, match="no grpc-status"):
        grpc_status(b"\x88")


def test_later_headers_are_the_first_ones_by_their_places() -> None:
    block = first_block("/a.B/C", "127.0.0.1:1")
    assert block.startswith(b"\x83\x86\x44\x06/a.B/C\x41\x0b127.0.0.1:1")
    # The newest entry of the table is 62: te, then content-type, authority, path.
    assert later_block() == bytes([0x83, 0x86, 0xC1, 0xC0, 0xBF, 0xBE])


def test_names_longer_than_a_length_byte_are_encoded() -> None:
    method = "/" + "x" * 300 + "/Y"
    block = first_block(method, "h:1")
    # RFC 7541, 5.1: 303 = 127 + 176, and 176 = 48 + 1 * 128.
    assert block[2:6] == bytes([0x44, 0x7F, 0xB0, 0x01])
    assert block[6 : 6 + 303] == method.encode()


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.05, b"50000u"), (1e-9, b"1u"), (99.0, b"99000000u"[:9]), (1e9, b"99999999m")]
)
def test_a_timeout_is_told_in_at_most_eight_digits(seconds: float, told: bytes) -> None:
    field = timeout_field(seconds)
    assert field == b"\x00\x0cgrpc-timeout" + bytes((len(told),)) + told
    assert len(told) <= 9

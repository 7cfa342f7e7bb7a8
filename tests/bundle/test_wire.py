import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.bundle.wire import Walk, WireError


def walk(data: bytes, limit: int = 1000) -> list[tuple[int, int | bytes]]:
    fields = Walk(limit).fields(memoryview(data))
    return [(number, value if isinstance(value, int) else bytes(value)) for number, value in fields]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@given(
    st.lists(
        st.tuples(st.integers(1, (1 << 29) - 1), st.integers(0, (1 << 64) - 1) | st.binary(max_size=300).map(bytes)),
        max_size=20,
    )
)
def test_what_was_written_is_read(fields: list[tuple[int, int | bytes]]) -> None:
    data = b"".join(
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
        for number, value in fields
    )
    assert walk(data) == fields


def test_fixed_width_fields_are_stepped_over() -> None:
    assert walk(b"\x0d" + b"abcd" + b"\x11" + b"12345678" + b"\x08\x05") == [(1, b"abcd"), (2, b"12345678"), (1, 5)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "in the middle of a number"),
        (b"\x08\x80", "in the middle of a number"),
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
        (b"\x0a\x05abc", "in the middle of a field"),
        (b"\x0a" + varint(1 << 62), "in the middle of a field"),
        (b"\x0dabc", "in the middle of a field"),
        (b"\x00\x00", "numbered 0"),
        (b"\x0b", "wire type 3"),
        (b"\x0f", "wire type 7"),
    ],
)
def test_malformed_bytes_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        walk(data)


def test_the_number_of_fields_is_bounded_over_all_messages() -> None:
    shared = Walk(3)
    assert len(list(shared.fields(memoryview(b"\x08\x01\x08\x01")))) == 2
    with pytest.raises(WireError, match="too many fields"):
        list(shared.fields(memoryview(b"\x08\x01\x08\x01")))


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=20))
def test_packed_numbers_are_read(numbers: list[int]) -> None:
    assert list(Walk(20).numbers(memoryview(b"".join(map(varint, numbers))))) == numbers


def test_packed_numbers_count_as_fields() -> None:
    shared = Walk(3)
    assert list(shared.numbers(memoryview(b"\x01\x02"))) == [1, 2]
    with pytest.raises(WireError, match="too many fields"):
        list(shared.numbers(memoryview(b"\x01\x02")))


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read = walk(data)
    except WireError:
        return
    assert (not read) == (not data)

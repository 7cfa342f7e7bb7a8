"""The protobuf wire format, as far as it takes to look into a file without trusting it.

Serving has no `onnx` package, and a general parser would build the whole tree, weights included, before anyone could
object. Here a message is a view of bytes whose fields are walked in place. Encoding:
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_VARINT_BITS = 70  # ten bytes of seven bits


class WireError(ValueError):
    """The bytes are no protobuf message, or one that no honest writer produces."""


class Walk:
    """Walks messages; counts the fields over all of them, so that a hostile file cannot keep us busy."""

    def __init__(self, max_fields: int) -> None:
        self._left = max_fields

    def fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Yields number and value of each field: an int for a varint, a view of the bytes for everything else.

        Raises:
            WireError: truncated, over-long or of an unknown wire type; or too many fields in all.
        """
        at, end = 0, len(message)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise WireError("has too many fields")
            key, at = _varint(message, at)
            number, kind = key >> 3, key & 7
            if number == 0:
                raise WireError("has a field numbered 0")
            if kind == VARINT:
                value, at = _varint(message, at)
                yield number, value
                continue
            if kind == BYTES:
                size, at = _varint(message, at)
            elif kind in _FIXED:
                size = _FIXED[kind]
            else:
                raise WireError(f"has a field of wire type {kind}, which ONNX does not use")
            if size > end - at:
                raise WireError("ends in the middle of a field")
            yield number, message[at : at + size]
            at += size

    def numbers(self, packed: memoryview) -> Iterator[int]:
        """Yields the numbers of a packed field; each counts as a field.

        Raises:
            WireError: truncated or over-long, or too many fields in all.
        """
        at = 0
        while at < len(packed):
            self._left -= 1
            if self._left < 0:
                raise WireError("has too many fields")
            value, at = _varint(packed, at)
            yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    end = len(message)
    while at < end:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 (the continuation bit)
            return value, at
        shift += 7
        if shift >= _VARINT_BITS:
            raise WireError("has a number of more than ten bytes")
    raise WireError("ends in the middle of a number")

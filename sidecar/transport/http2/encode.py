"""Header fields as a server writes them (RFC 7541): without the dynamic table, so that replies can be built ahead."""

_NAME_LIMIT, _LENGTH_LIMIT = 0x0F, 0x7F
_MORE = 0x80


def literal(name: bytes, value: bytes) -> bytes:
    """A field with a name of its own, without indexing (section 6.2.2) and without Huffman coding."""
    return b"\0" + _string(name) + _string(value)


def indexed_name(index: int, value: bytes) -> bytes:
    """A field whose name is that of an entry of the static table, without indexing and without Huffman coding.

    Args:
        index: The entry's, 1 to 61.
        value: Of any length.
    """
    return _number(index, _NAME_LIMIT) + _string(value)


def _string(value: bytes) -> bytes:
    return _number(len(value), _LENGTH_LIMIT) + value


def _number(number: int, limit: int) -> bytes:
    """A number (section 5.1) whose first byte holds less than `limit` of it, with nothing in the bits before."""
    if number < limit:
        return bytes((number,))
    coded = bytearray((limit,))
    number -= limit
    while number >= _MORE:
        coded.append(number & (_MORE - 1) | _MORE)
        number >>= 7
    coded.append(number)
    return bytes(coded)

"""HPACK (RFC 7541): a decoder that is fast at what gRPC clients send, bounded for any input.

Their blocks are indexed fields and one or two short literals: C core repeats `grpc-timeout` whenever it differs, Go
enters a new one into the table with every call, which shifts the indices of all that it entered before.
"""

from sidecar.transport.http2 import huffman
from sidecar.transport.http2.static_table import STATIC_FIELDS

Field = tuple[bytes, bytes]

DEFAULT_TABLE_BYTES = 4096
"""SETTINGS_HEADER_TABLE_SIZE as every connection begins (RFC 9113, section 6.5.2)."""

FIELD_OVERHEAD = 32
"""What each field counts beside the bytes of name and value, in the table and in a list (RFC 7541, section 4.1)."""

_FIRST_DYNAMIC = len(STATIC_FIELDS) + 1
# First bytes of a field: which representation it is (section 6). Smaller ones are literals that do not enter the table.
_INDEXED, _INCREMENTAL, _RESIZE = 0x80, 0x40, 0x20
_RESIZE_MASK = 0xE0
# The parts of first bytes that are a number; a part that is all ones goes on in bytes of seven bits (section 5.1).
_INDEX, _NEW_SIZE, _LENGTH = 0x7F, 0x1F, 0x7F
_NAME_LIMITS = bytes(
    0x0F if first < _RESIZE else 0x3F if _INCREMENTAL <= first < _INDEXED else 0 for first in range(256)
)  # 0 where no literal begins
_HUFFMAN, _MORE = 0x80, 0x80
_MOST_CONTINUATIONS = 5
_MOST_NUMBER = 1 << 32
# An encoder names the smallest size since its last block, if that evicted anything, and the present one (section 4.2).
_MOST_RESIZES = 2


class CompressionError(Exception):
    """A block breaks RFC 7541, and the tables are no longer in step: the connection must end (COMPRESSION_ERROR)."""


class HeadersTooLarge(Exception):
    """A block's list of fields is larger than is taken; the decoder is still in step with its peer."""


class Decoder:
    """The receiving end of a connection's header compression, with its dynamic table.

    A table of less than 4,096 bytes is in step only with peers that know of it before their first block, since the
    setting holds once it was acknowledged. One of more begins with 4,096 bytes, until the peer enlarges it.

    Args:
        max_table_bytes: The SETTINGS_HEADER_TABLE_SIZE that the peer was told.
        max_list_bytes: Most bytes of a list: names, values, and 32 for each field (RFC 9113, section 6.5.2).

    Attributes:
        changes: Grows whenever the content or the size of the dynamic table changes. While it stays as it is, equal
            blocks decode to equal lists.
    """

    def __init__(self, max_table_bytes: int = DEFAULT_TABLE_BYTES, max_list_bytes: int = 16384) -> None:
        self.changes = 0
        self._max_table_bytes = max_table_bytes
        self._max_list_bytes = max_list_bytes
        self._table_bytes = min(max_table_bytes, DEFAULT_TABLE_BYTES)
        self._used_bytes = 0
        # By index: the static table, then the dynamic one, the newest field first. Inserting there moves at most 1 KB of
        # pointers in a table of 4 KB, which costs less than an offset at every look-up.
        self._fields: list[Field] = [(b"", b""), *STATIC_FIELDS]
        self._sizes = [len(name) + len(value) + FIELD_OVERHEAD for name, value in self._fields]

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a whole header block, as names and values, in their order.

        Raises:
            CompressionError: The block breaks RFC 7541; the decoder must not be used again.
            HeadersTooLarge: The list has more than `max_list_bytes`; the next block can be decoded.
        """
        try:
            at = self._resized(block) if block and block[0] & _RESIZE_MASK == _RESIZE else 0
            return self._read(block, at)
        except IndexError:
            raise CompressionError("a block ends inside a field, or has an index beyond the table") from None
        except huffman.BadHuffman as error:
            raise CompressionError(str(error)) from None

    def _read(self, block: bytes, at: int) -> list[Field]:
        fields, sizes = self._fields, self._sizes
        found: list[Field] = []
        left = self._max_list_bytes
        end = len(block)
        while at < end:
            first = block[at]
            at += 1
            if first > _INDEXED:
                index = first & _INDEX
                if index == _INDEX:
                    index, at = _continued(block, at, index)
                left -= sizes[index]
                if left >= 0:
                    found.append(fields[index])
                continue
            field, at = self._literal(first, block, at)
            size = len(field[0]) + len(field[1]) + FIELD_OVERHEAD
            left -= size
            if left >= 0:
                found.append(field)
            if first >= _INCREMENTAL:
                self._enter(field, size)
        if left < 0:
            raise HeadersTooLarge(f"the list of fields is larger than {self._max_list_bytes} bytes")
        return found

    def _literal(self, first: int, block: bytes, at: int) -> tuple[Field, int]:
        """The field behind its first byte, and where it ends."""
        limit = _NAME_LIMITS[first]
        if not limit:
            raise CompressionError("index 0, or a change of the table's size after a field, or a third one")
        index = first & limit
        if index == limit:
            index, at = _continued(block, at, index)
        if index:
            name = self._fields[index][0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _enter(self, field: Field, size: int) -> None:
        """Puts a field at the head of the dynamic table; one that is larger than the table empties it."""
        self.changes += 1
        self._used_bytes += size
        self._fields.insert(_FIRST_DYNAMIC, field)
        self._sizes.insert(_FIRST_DYNAMIC, size)
        if self._used_bytes > self._table_bytes:
            self._evict()

    def _evict(self) -> None:
        fields, sizes = self._fields, self._sizes
        used = self._used_bytes
        while used > self._table_bytes:
            fields.pop()
            used -= sizes.pop()
        self._used_bytes = used

    def _resized(self, block: bytes) -> int:
        """Takes the changes of the table's size at a block's beginning; returns where they end."""
        at = 0
        for _ in range(_MOST_RESIZES):
            if at == len(block) or block[at] & _RESIZE_MASK != _RESIZE:
                break
            size = block[at] & _NEW_SIZE
            at += 1
            if size == _NEW_SIZE:
                size, at = _continued(block, at, size)
            if size > self._max_table_bytes:
                raise CompressionError(f"a table of {size} bytes, where {self._max_table_bytes} are allowed")
            if size != self._table_bytes:
                self.changes += 1
                self._table_bytes = size
                self._evict()
        return at


def _continued(block: bytes, at: int, number: int) -> tuple[int, int]:
    """A number that goes on behind a part that is all ones, and where it ends."""
    byte = block[at]
    if byte < _MORE:  # nearly always
        return number + byte, at + 1
    for shift in range(0, 7 * _MOST_CONTINUATIONS, 7):
        byte = block[at]
        at += 1
        if byte < _MORE:
            number += byte << shift
            if number > _MOST_NUMBER:
                break
            return number, at
        number += (byte - _MORE) << shift
    raise CompressionError(f"a number above {_MOST_NUMBER}, or of more than {_MOST_CONTINUATIONS} bytes")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """A name or a value, and where it ends."""
    first = block[at]
    at += 1
    length = first & _LENGTH
    if length == _LENGTH:
        length, at = _continued(block, at, length)
    end = at + length
    if end > len(block):
        raise CompressionError("a block ends inside a string")
    return (huffman.decode(block[at:end]) if first & _HUFFMAN else block[at:end]), end

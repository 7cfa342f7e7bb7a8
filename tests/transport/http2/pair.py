"""The decoder beside PyPI's `hpack`.

That one differs in a single point: it takes any number of table sizes at a block's beginning, where an encoder has two
to send (RFC 7541, section 4.2).
"""

from hpack import Decoder as Oracle
from hpack import HPACKError

from sidecar.transport.http2.hpack import CompressionError, Decoder, Field
from sidecar.transport.http2.static_table import STATIC_FIELDS

# So large that both take every list; the bound has tests of its own.
MOST = 1 << 24


def table(decoder: Decoder) -> list[Field]:
    """The dynamic table's fields, the newest first."""
    return decoder._fields[1 + len(STATIC_FIELDS) :]


class Pair:
    """Both decoders of one connection, which must do the same."""

    def __init__(self) -> None:
        self.ours, self.oracle = Decoder(max_list_bytes=MOST), Oracle(MOST)

    def decode(self, block: bytes) -> list[Field] | None:
        """The list; None if the block is refused."""
        try:
            expected = [(name, value) for name, value in self.oracle.decode(block, raw=True)]
        except HPACKError:
            expected = None
        before, changes = self._table(), self.ours.changes
        try:
            got = self.ours.decode(block)
        except CompressionError:
            assert expected is None or sizes_at_the_beginning(block) > 2
            return None
        assert got == expected
        assert self._table() == (list(self.oracle.header_table.dynamic_entries), self.oracle.header_table_size)
        assert self.ours._used_bytes == self.oracle.header_table._current_size
        assert self.ours.changes > changes or self._table() == before
        return got

    def _table(self) -> tuple[list[Field], int]:
        return table(self.ours), self.ours._table_bytes


def sizes_at_the_beginning(block: bytes) -> int:
    """How many table sizes a block begins with."""
    count = at = 0
    while at < len(block) and block[at] >> 5 == 1:
        count += 1
        long = block[at] & 31 == 31
        at += 1
        while long and at < len(block):
            long = block[at] >= 128
            at += 1
    return count

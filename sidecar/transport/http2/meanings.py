"""What header blocks of one connection mean, kept so that a block that comes again costs one look-up."""

import math
from typing import NamedTuple

from sidecar.transport.http2.calls import UnaryCall
from sidecar.transport.http2.headers import Headers, read_head, seconds
from sidecar.transport.http2.hpack import Decoder, HeadersTooLarge
from sidecar.transport.http2.methods import Entry, Methods

# Distinct blocks, and distinct lists of headers without the timeout, whose meaning is kept.
MOST_KEPT = 256
# Bytes of them; what is larger than a share of that is not kept.
MOST_KEPT_BYTES, MOST_BYTES_OF_ONE = 1 << 16, 1 << 12
FIELD_BYTES = 200  # of a field's objects, beside its bytes
TIMEOUT = b"grpc-timeout"


class Meaning(NamedTuple):
    """What a block leads to.

    Attributes:
        entry: the method, or why the call is refused.
        timeout_s: until the deadline; inf if there is none.
        quick: True if it is a call of a hot unary method that needs no check.
    """

    entry: Entry
    timeout_s: float
    quick: bool


class Meanings:
    """The decoder of a connection, and what it has decoded.

    Args:
        methods: of the port.
        max_list_bytes: of headers, counted as HTTP/2 does.

    Attributes:
        blocks: meanings by block; true as long as the block comes now. Equal blocks mean the same only while the table
            of the decoder stays as it is, so it is cleared whenever that changes.
    """

    __slots__ = ("_changes", "_decoder", "_entries", "_kept_bytes", "_methods", "blocks")

    def __init__(self, methods: Methods, max_list_bytes: int) -> None:
        self._decoder = Decoder(max_list_bytes=max_list_bytes)
        self._methods = methods
        self._changes = self._kept_bytes = 0
        self._entries: dict[tuple[tuple[bytes, bytes], ...], tuple[Entry, bool]] = {}
        self.blocks: dict[bytes, Meaning] = {}

    def decode(self, block: bytes) -> Headers | None:
        """The fields of a block; None if they are more than is allowed.

        Raises:
            CompressionError: it is none.
        """
        try:
            return self._decoder.decode(block)
        except HeadersTooLarge:
            return None
        finally:
            if self._decoder.changes != self._changes and self.blocks:
                self.blocks.clear()

    def of(self, block: bytes, headers: Headers) -> Meaning:
        """The meaning of a block that was just decoded.

        Args:
            block: as it came.
            headers: its fields.

        Raises:
            Malformed: they are none of a request.
        """
        # Go's client sends another timeout with every call: all the rest is looked up without it.
        timeout: bytes | None = None
        rest = []
        for field in headers:
            if field[0] == TIMEOUT and timeout is None:
                timeout = field[1]
            else:
                rest.append(field)
        key = tuple(rest)
        found = self._entries.get(key)
        if found is None:
            entry = self._methods.entry(read_head(rest))
            found = entry, entry.open is UnaryCall and entry.admit is None
            self._keep(self._entries, key, found, sum(len(name) + len(value) + FIELD_BYTES for name, value in rest))
        entry, quick = found
        timeout_s = math.inf
        if timeout is not None:
            told_s = seconds(timeout)
            if told_s is None:
                return Meaning(self._methods.entry(read_head(headers)), math.inf, quick=False)
            timeout_s = told_s
        meaning = Meaning(entry, timeout_s, quick)
        if self._decoder.changes == self._changes:
            self._keep(self.blocks, block, meaning, len(block))
        else:
            self._changes = self._decoder.changes  # this block itself entered fields: it means something else next time
        return meaning

    def _keep(self, kept: dict, key: object, value: object, size: int) -> None:  # type: ignore[type-arg]  # of either kind
        if size > MOST_BYTES_OF_ONE:
            return
        self._kept_bytes += size
        if self._kept_bytes > MOST_KEPT_BYTES:
            self.blocks.clear()
            self._entries.clear()
            self._kept_bytes = size
        elif len(kept) >= MOST_KEPT:
            kept.clear()
        kept[key] = value

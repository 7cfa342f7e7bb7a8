"""Header blocks as Go's client writes them: every field goes into the HPACK table, also a timeout that is new each time.

Encoding follows golang.org/x/net/http2/hpack, Encoder.WriteField: a field that stands in a table is one index, any other
one is written as a literal that enters the table, its value in Huffman code where that is shorter (RFC 7541).
"""

from collections import deque
from collections.abc import Callable, Iterator

from benchmarks.connection import Connection
from benchmarks.hpack import INCREMENTAL, INDEXED, STATIC_ENTRIES, STATIC_FIELDS, STATIC_NAMES, integer, text

TABLE_BYTES = 4096
ENTRY_BYTES = 32  # that an entry counts beside its name and value
USER_AGENT = "grpc-go/1.65.0"
# Of RFC 7541, appendix B: code and length in bits of what a timeout consists of.
HUFFMAN = {
    "0": (0x0, 5), "1": (0x1, 5), "2": (0x2, 5), "3": (0x19, 6), "4": (0x1A, 6), "5": (0x1B, 6), "6": (0x1C, 6),
    "7": (0x1D, 6), "8": (0x1E, 6), "9": (0x1F, 6), "u": (0x2D, 6), "m": (0x29, 6),
}  # fmt: skip
HUFFMAN_FLAG = 0x80
Field = tuple[str, str]


class Encoder:
    """Writes header blocks, and keeps the table that the server keeps too."""

    def __init__(self) -> None:
        self._entries: deque[Field] = deque()
        self._places: dict[Field, int] = {}  # by field, and the name's newest entry: which insertion it was
        self._names: dict[str, int] = {}
        self._inserted = 0
        self._bytes = 0

    def block(self, fields: list[Field]) -> bytes:
        """One header block."""
        return b"".join([self._field(field) for field in fields])

    def _field(self, field: Field) -> bytes:
        static = STATIC_FIELDS.get(field)
        if static is not None:
            return integer(INDEXED, 7, static)
        place = self._places.get(field)
        if place is not None:
            return integer(INDEXED, 7, self._index(place))
        name, value = field
        known = STATIC_NAMES.get(name) or (self._index(self._names[name]) if name in self._names else 0)
        head = integer(INCREMENTAL, 6, known) + (b"" if known else text(name))
        self._insert(field)
        return head + (huffman(value) or text(value))

    def _index(self, place: int) -> int:
        return STATIC_ENTRIES + self._inserted - place

    def _insert(self, field: Field) -> None:
        self._entries.append(field)
        self._places[field] = self._names[field[0]] = self._inserted
        self._inserted += 1
        self._bytes += _size(field)
        while self._bytes > TABLE_BYTES:
            gone = self._entries.popleft()
            self._bytes -= _size(gone)
            place = self._places.pop(gone)
            if self._names[gone[0]] == place:
                del self._names[gone[0]]


def _size(field: Field) -> int:
    return len(field[0]) + len(field[1]) + ENTRY_BYTES


def huffman(value: str) -> bytes:
    """A string in Huffman code with its length; empty if that is not shorter, or the code of a character is not known."""
    bits = length = 0
    for character in value:
        code = HUFFMAN.get(character)
        if code is None:
            return b""
        bits, length = bits << code[1] | code[0], length + code[1]
    padding = -length % 8
    size = (length + padding) // 8
    if size >= len(value):
        return b""
    return integer(HUFFMAN_FLAG, 7, size) + (bits << padding | (1 << padding) - 1).to_bytes(size, "big")


def steady_timeouts() -> Iterator[str]:
    """The same timeout for each call: it enters the table once."""
    while True:
        yield "9999850u"


def new_timeouts() -> Iterator[str]:
    """Another timeout for each call, as the time that is left is seldom the same: each enters the table."""
    micros = 9_999_999
    while True:
        yield f"{micros}u"
        micros = micros - 1 if micros > 9_000_000 else 9_999_999  # noqa: PLR2004 - ten seconds, less what has passed


class GoConnection(Connection):
    """A connection whose header blocks are those of Go's client.

    Args:
        host: to connect to.
        port: to connect to.
        method: `/package.Service/Method`.
        timeouts: gives that of each call.
        wait: see Connection.
    """

    def __init__(
        self, host: str, port: int, method: str, *, timeouts: Callable[[], Iterator[str]], wait: bool = True
    ) -> None:
        super().__init__(host, port, method, wait=wait)
        self._encoder = Encoder()
        self._timeouts = timeouts()
        self._fields = [
            (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", f"{host}:{port}"),
            ("content-type", "application/grpc"), ("user-agent", USER_AGENT), ("te", "trailers"),
        ]  # fmt: skip

    def _begin(self, payload: bytes, key: int, timeout: bytes) -> int:
        self._block = self._encoder.block([*self._fields, ("grpc-timeout", next(self._timeouts))])
        return super()._begin(payload, key, timeout)

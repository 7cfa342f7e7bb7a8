"""The few rules of HPACK (RFC 7541) that unary gRPC calls need when the peer's dynamic table has length zero."""

from benchmarks.client import UNAVAILABLE

# Of the static table of RFC 7541, appendix A.
METHOD_POST, SCHEME_HTTP, AUTHORITY, PATH, CONTENT_TYPE, USER_AGENT = 3, 6, 1, 4, 31, 58
STATIC_ENTRIES = 61
STATUS_FIELD = b"grpc-status"
MOST_TIMEOUT = 10**8  # gRPC allows eight digits
# First byte of a field: which representation it is (section 6), as mask and value.
INDEXED, INCREMENTAL = 0x80, 0x40
SIZE_UPDATE_MASK, SIZE_UPDATE = 0xE0, 0x20
# Longer numbers go on in bytes of seven bits each.
MORE = 0x80
# What of the static table requests need.
STATIC_FIELDS = {(":method", "POST"): METHOD_POST, (":scheme", "http"): SCHEME_HTTP}
STATIC_NAMES = {":authority": AUTHORITY, ":path": PATH, "content-type": CONTENT_TYPE, "user-agent": USER_AGENT}


class HeaderError(RuntimeError):
    """A server's header block is not understood here."""


def first_block(method: str, authority: str) -> bytes:
    """The headers of the first call of a connection; puts four entries into the server's dynamic table."""
    return b"".join(
        (
            bytes((INDEXED | METHOD_POST, INDEXED | SCHEME_HTTP)),
            bytes((INCREMENTAL | PATH,)) + text(method),
            bytes((INCREMENTAL | AUTHORITY,)) + text(authority),
            bytes((INCREMENTAL | CONTENT_TYPE,)) + text("application/grpc"),
            bytes((INCREMENTAL,)) + text("te") + text("trailers"),
        )
    )


def later_block() -> bytes:
    """The headers of every later call: the same, by their places in the tables; the newest entry has the lowest."""
    newest = STATIC_ENTRIES + 1
    return bytes(INDEXED | place for place in (METHOD_POST, SCHEME_HTTP, newest + 3, newest + 2, newest + 1, newest))


def timeout_field(seconds: float) -> bytes:
    """The header grpc-timeout; it goes into no table, since it may be different in every call."""
    micros = max(1, round(seconds * 1e6))
    told = f"{micros}u" if micros < MOST_TIMEOUT else f"{min(micros // 1000, MOST_TIMEOUT - 1)}m"
    return literal("grpc-timeout", told)


def literal(name: str, value: str) -> bytes:
    """A header field that goes into no table."""
    return b"\0" + text(name) + text(value)


def grpc_status(block: bytes) -> int:
    """The gRPC status in a block of trailers.

    Raises:
        HeaderError: the block uses a dynamic table or Huffman codes where the status is looked for.
    """
    if not block:
        return UNAVAILABLE
    place = 0
    found: int | None = None
    while place < len(block):
        first = block[place]
        if first & INDEXED:
            index, place = _number(block, place, 7)
            if index > STATIC_ENTRIES:
                raise HeaderError("the server uses a header table that was forbidden to it; use --client grpc.")
            continue
        if first & SIZE_UPDATE_MASK == SIZE_UPDATE:
            _, place = _number(block, place, 5)
            continue
        index, place = _number(block, place, 6 if first & INCREMENTAL else 4)
        name = b""
        if index == 0:
            name, place = _string(block, place)
        value, place = _string(block, place)
        if name == STATUS_FIELD:
            found = int(value)
    if found is None:
        raise HeaderError("the trailers hold no grpc-status that can be read; use --client grpc.")
    return found


def text(value: str) -> bytes:
    """A string as it is, with its length."""
    raw = value.encode("ascii")
    return integer(0, 7, len(raw)) + raw


def integer(first: int, bits: int, number: int) -> bytes:
    """A number (section 5.1).

    Args:
        first: what the first byte holds besides.
        bits: of the first byte that are the number's.
        number: at least 0.
    """
    limit = (1 << bits) - 1
    if number < limit:
        return bytes((first | number,))
    return bytes((first | limit,)) + _more(number - limit)


def _more(number: int) -> bytes:
    out = bytearray()
    while number >= MORE:
        out.append(number % MORE | MORE)
        number //= MORE
    out.append(number)
    return bytes(out)


def _number(block: bytes, place: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    number = block[place] & limit
    place += 1
    if number < limit:
        return number, place
    shift = 0
    while True:
        byte = block[place]
        place += 1
        number += (byte % MORE) << shift
        shift += 7
        if not byte & MORE:
            return number, place


def _string(block: bytes, place: int) -> tuple[bytes, int]:
    huffman = block[place] & 0x80
    size, place = _number(block, place, 7)
    # Huffman-coded strings are skipped: no gRPC core codes its status so.
    return (b"" if huffman else block[place : place + size]), place + size

"""The header blocks of replies. No entry of a dynamic table is used, so a block is the same bytes on every connection."""

from urllib.parse import unquote_to_bytes

from sidecar.errors import RouterError
from sidecar.transport.http2.encode import indexed_name, literal
from sidecar.transport.http2.frames import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame

STATUS_200 = b"\x88"
STATUS_INDEX, CONTENT_TYPE_INDEX = 8, 31  # of the static table (RFC 7541, appendix A)
HEAD_BLOCK = STATUS_200 + indexed_name(CONTENT_TYPE_INDEX, b"application/grpc")
OK_BLOCK = literal(b"grpc-status", b"0")
# Told where a call comes in a compression that is not served (gRPC over HTTP/2, "Compression").
ACCEPTED_ENCODINGS = b"identity,deflate,gzip"
# A message is cut so that what clients allow for headers (8 KiB with most) is not exceeded.
MOST_MESSAGE_BYTES = 4096


def percent_encoded(message: str) -> bytes:
    """A status message as the header `grpc-message`: printable ASCII stays, all else and `%` is percent-encoded."""
    return b"".join(
        bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte  # noqa: PLR2004 - ASCII
        for byte in message.encode("utf-8", "replace")
    )


def _cut(encoded: bytes) -> bytes:
    """A message of at most MOST_MESSAGE_BYTES that ends with a whole character."""
    if len(encoded) <= MOST_MESSAGE_BYTES:
        return encoded
    kept = encoded[:MOST_MESSAGE_BYTES]
    escape = kept.rfind(b"%", MOST_MESSAGE_BYTES - 2)
    if escape >= 0:  # it was cut off
        kept = kept[:escape]
    return percent_encoded(unquote_to_bytes(kept).decode("utf-8", "ignore"))


def trailers_block(error: RouterError, extra: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """The status of a call that failed, as a block of trailers."""
    fields = [literal(b"grpc-status", b"%d" % error.code)]
    message = _cut(percent_encoded(str(error)))
    if message:
        fields.append(literal(b"grpc-message", message))
    fields += [literal(name.encode(), value.encode()) for name, value in error.trailers]
    fields += [literal(name, value) for name, value in extra]
    return b"".join(fields)


def headers_frames(stream: int, block: bytes, flags: int, most: int) -> bytes:
    """A block as one HEADERS frame, or with CONTINUATION where it is longer than the peer's largest frame."""
    if len(block) <= most:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [block[at : at + most] for at in range(0, len(block), most)]
    frames = [frame(HEADERS, flags & END_STREAM, stream, parts[0])]
    frames += [frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
    return b"".join((*frames, frame(CONTINUATION, END_HEADERS, stream, parts[-1])))


def plain_head(status: int, length: int) -> bytes:
    """The headers of an answer to a request that is no gRPC call."""
    return (
        indexed_name(STATUS_INDEX, b"%d" % status)
        + indexed_name(CONTENT_TYPE_INDEX, b"text/plain; charset=utf-8")
        + literal(b"content-length", b"%d" % length)
    )

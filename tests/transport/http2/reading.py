"""What a connection wrote, read frame by frame."""

from benchmarks.http2 import GOAWAY, HEADERS, WORD


def frames(sent: bytes) -> list[tuple[int, int, bytes]]:
    """The frames that were sent, as kind, stream and content."""
    found = []
    at = 0
    while at < len(sent):
        size = int.from_bytes(sent[at : at + 3], "big")
        found.append((sent[at + 3], WORD.unpack(sent[at + 5 : at + 9])[0], sent[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def status(sent: bytes, stream: int = 1) -> int | None:
    """The gRPC status that ended a stream."""
    for kind, number, content in frames(sent):
        if kind == HEADERS and number == stream and b"grpc-status" in content:
            at = content.index(b"grpc-status") + 11
            return int(content[at + 1 : at + 1 + content[at]])
    return None


def last_code(sent: bytes) -> int | None:
    """The code of the GOAWAY among some frames; None if there is none."""
    codes = [WORD.unpack(content[4:8])[0] for kind, _, content in frames(sent) if kind == GOAWAY]
    return codes[-1] if codes else None

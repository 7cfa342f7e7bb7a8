"""Looks at a few bytes of a message without parsing it: its segment, its sequence number.

A walk over the top level of a protobuf message (https://protobuf.dev/programming-guides/encoding/) that gives up early:
what it does not find in a few steps it does not know.
"""

from sidecar.wire import router_pb2 as pb

# Fields before the one that is looked for; a conversation has one for each turn.
MOST_STEPS = 64
VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
WIDEST_SHIFT = 63  # of a varint
# What was not looked at, or not found.
UNREAD = "(not read)"
SEGMENT = pb.RouteRequest.SEGMENT_FIELD_NUMBER << 3 | DELIMITED
FIRST_ITEM = pb.RouteBatchRequest.REQUESTS_FIELD_NUMBER << 3 | DELIMITED
STREAMED = pb.RouteStreamRequest.REQUEST_FIELD_NUMBER << 3 | DELIMITED
SEQUENCE = pb.RouteStreamRequest.SEQUENCE_FIELD_NUMBER << 3 | VARINT
SEGMENT_BYTES = 256


def segment_of_route(raw: bytes) -> str:
    """The segment of a RouteRequest."""
    return _segment(raw, 0, len(raw))


def segment_of_batch(raw: bytes) -> str:
    """The segment of the first item of a RouteBatchRequest."""
    found = _find(raw, 0, len(raw), FIRST_ITEM)
    return _segment(raw, *found) if found else UNREAD


def segment_of_stream(raw: bytes) -> str:
    """The segment of a RouteStreamRequest."""
    found = _find(raw, 0, len(raw), STREAMED)
    return _segment(raw, *found) if found else UNREAD


def sequence_of(raw: bytes) -> int:
    """The sequence number of a RouteStreamRequest; 0 if it is not found."""
    found = _find(raw, 0, len(raw), SEQUENCE)
    return found[0] if found else 0


def _segment(raw: bytes, at: int, end: int) -> str:
    found = _find(raw, at, end, SEGMENT)
    if found is None:
        return UNREAD
    start, stop = found
    return raw[start : min(stop, start + SEGMENT_BYTES)].decode("utf-8", "replace")


def _find(raw: bytes, at: int, end: int, wanted: int) -> tuple[int, int] | None:  # noqa: C901, PLR0912 - in one place, for speed
    """Where the content of a field begins and ends; for a number, its value and where it ends. None if not found.

    A field that is absent is told apart from one that was not looked for: an empty segment is (0, 0).
    """
    absent = (0, 0)
    try:
        for _ in range(MOST_STEPS):
            if at >= end:
                return absent
            tag = raw[at]
            at += 1
            if tag > wanted:
                return absent  # fields are written in the order of their numbers
            kind = tag & 7
            if kind == FIXED32:
                at += 4
                continue
            if kind == FIXED64:
                at += 8
                continue
            value = raw[at]
            at += 1
            if value & 128:
                value &= 127
                shift = 7
                while True:
                    byte = raw[at]
                    at += 1
                    value |= (byte & 127) << shift
                    if byte < 128:  # noqa: PLR2004 - the last byte lacks the continuation bit
                        break
                    shift += 7
                    if shift > WIDEST_SHIFT:
                        return None
            if tag == wanted:
                return (value, at) if kind == VARINT else (at, at + value)
            if kind == DELIMITED:
                at += value
            elif kind != VARINT:
                return None
    except IndexError:
        pass
    return None

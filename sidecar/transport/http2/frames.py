"""Frames of HTTP/2 (RFC 9113, sections 4 and 6): numbers, and how they are written."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
# Flags. ACK and END_STREAM share a number, on different kinds of frame.
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

# Settings.
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)

# Error codes.
NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB
ERROR_NAMES = {
    NO_ERROR: "NO_ERROR",
    PROTOCOL_ERROR: "PROTOCOL_ERROR",
    INTERNAL_ERROR: "INTERNAL_ERROR",
    FLOW_CONTROL_ERROR: "FLOW_CONTROL_ERROR",
    STREAM_CLOSED: "STREAM_CLOSED",
    FRAME_SIZE_ERROR: "FRAME_SIZE_ERROR",
    REFUSED_STREAM: "REFUSED_STREAM",
    CANCEL: "CANCEL",
    COMPRESSION_ERROR: "COMPRESSION_ERROR",
    ENHANCE_YOUR_CALM: "ENHANCE_YOUR_CALM",
}

FRAME_HEAD = 9
DEFAULT_FRAME_BYTES = 1 << 14
LARGEST_FRAME_BYTES = (1 << 24) - 1
DEFAULT_WINDOW = (1 << 16) - 1
LARGEST_WINDOW = (1 << 31) - 1
LARGEST_STREAM = (1 << 31) - 1

read_head = struct.Struct(">BHBBI").unpack_from  # length (high 8, low 16), kind, flags, stream
read_word = struct.Struct(">I").unpack_from
write_word = struct.Struct(">I").pack
SETTING = struct.Struct(">HI")


class Violation(Exception):
    """The peer broke a rule: the connection ends with a GOAWAY.

    Attributes:
        code: HTTP/2 error code.
        reason: for the log and the GOAWAY's debug data.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamError(Exception):
    """The peer broke a rule within one stream: it is reset, the connection lives on.

    Attributes:
        stream: number.
        code: HTTP/2 error code.
    """

    def __init__(self, stream: int, code: int) -> None:
        super().__init__(f"stream {stream}: {ERROR_NAMES.get(code, code)}")
        self.stream = stream
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + write_word(stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in pairs))


def goaway(last_stream: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, write_word(last_stream) + write_word(code) + reason.encode())


def reset(stream: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return b"\0\0\x04\x03\0" + write_word(stream) + write_word(code)


def window_update(stream: int, more: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return b"\0\0\x04\x08\0" + write_word(stream) + write_word(more)

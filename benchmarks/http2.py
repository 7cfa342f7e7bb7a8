"""How HTTP/2 frames are laid out (RFC 9113): what a client needs, also one that writes them wrong on purpose."""

import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PADDED, PRIORITY = 8, 32
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 2, 3, 4, 5
CANCEL = 8  # the error code of a stream whose reply is no longer wanted
DEFAULT_WINDOW, LARGEST_WINDOW, DEFAULT_FRAME = 65535, (1 << 31) - 1, 16384
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MESSAGE_HEAD = 5  # compressed flag and length before each gRPC message

HEAD = struct.Struct(">HBBBI")  # length (high 16, low 8), type, flags, stream
SETTING = struct.Struct(">HI")
WORD = struct.Struct(">I")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame of names and values."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in pairs))


def message(payload: bytes) -> bytes:
    """A gRPC message as it stands in DATA frames, not compressed."""
    return b"\0" + WORD.pack(len(payload)) + payload

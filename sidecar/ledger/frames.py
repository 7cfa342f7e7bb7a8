"""Records as bytes of a journal: length, CRC-32, kind, payload. What is torn or changed is found out, and never read.

The checksum covers length and kind too, so a run of zeros, which is what a disk may leave after a power failure, is no
frame.
"""

import enum
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_HEAD = struct.Struct(">IIB")
_COVERED = struct.Struct(">IB")
HEAD_BYTES = _HEAD.size
# Far more than a group of outcomes or decisions takes.
MOST_BYTES = 64 << 20


class Kind(enum.IntEnum):
    """What a frame holds."""

    DECISIONS = 1
    OUTCOMES = 2
    DROPS = 3


class Frame(NamedTuple):
    """One record as it lies in the journal.

    Attributes:
        kind: a number of Kind, or one of a later version.
        payload: MessagePack.
        end: offset behind it.
    """

    kind: int
    payload: memoryview
    end: int


def frame(kind: int, parts: Sequence[bytes]) -> bytes:
    """A payload, given in pieces, with its head before it."""
    payload = b"".join(parts)
    return _HEAD.pack(len(payload), _checksum(kind, payload), kind) + payload


def scan(data: memoryview, offset: int = 0) -> Iterator[Frame]:
    """The frames that lie whole and unharmed in the bytes, up to the first that does not.

    Args:
        data: begins with a frame.
        offset: of its first byte in the file; counted into `end`.
    """
    at = 0
    while at + HEAD_BYTES <= len(data):
        size, checksum, kind = _HEAD.unpack_from(data, at)
        end = at + HEAD_BYTES + size
        if size > MOST_BYTES or end > len(data):
            return
        payload = data[at + HEAD_BYTES : end]
        if _checksum(kind, payload) != checksum:
            return
        yield Frame(kind, payload, offset + end)
        at = end


def announced(data: memoryview) -> int:
    """Bytes that the first frame says it takes with its head; 0 if it cannot be one."""
    if len(data) < HEAD_BYTES:
        return 0
    size = int(_HEAD.unpack_from(data)[0])
    return HEAD_BYTES + size if size <= MOST_BYTES else 0


def _checksum(kind: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(_COVERED.pack(len(payload), kind)))

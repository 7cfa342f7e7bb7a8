"""The layout of the fleet table, and its making; without numpy, which the supervisor can do without.

See sidecar.fleet.table for what it holds and how it is read.
"""

import os
import struct
from pathlib import Path

from sidecar.errors import ConfigError
from sidecar.fleet.columns import COLUMNS
from sidecar.fleet.memory import share

MAGIC = int.from_bytes(b"FLEETTAB", "little")
VERSION = 3
HEADER_WORDS = 16
# Control words of a writer, on a cache line of their own.
CONTROL_WORDS = 8
SEQUENCE, IDENTITY, EPOCH, NAMES, PID, RELAY_HEAD = range(6)
HEARTBEAT_WORDS = 8
NAME_BYTES = 200
RELAY_ENTRIES = 4096
RELAY_COLUMNS = 8
# The number of a writer takes 8 bits in a decision's id.
MOST_WRITERS = 256
_HEADER = struct.Struct("<5q")  # version, writers, names, columns, section of the peers
_WORD = struct.Struct("<q")


def make(path: Path, writers: int, names: int = 512, *, peers: bool = False) -> int:
    """Makes a new, empty table at a path where there is none. It lives as long as this process.

    Args:
        path: in a directory that only this sidecar uses.
        writers: most processes that may write at a time; count double, since successors overlap those they replace.
        names: most rows of a process, 16 or more.
        peers: whether the last section is kept for what is heard of other sidecars.

    Returns:
        A file descriptor, to be kept open as long as others may attach.

    Raises:
        ConfigError: too many writers, or no memory.
    """
    if not 1 <= writers <= MOST_WRITERS:
        raise ConfigError(
            f"fleet: {writers} processes want to write; at most {MOST_WRITERS} can, so set fewer workers."
        )
    descriptor = share(path, size_of(writers, names))
    os.pwrite(descriptor, _HEADER.pack(VERSION, writers, names, COLUMNS, writers - 1 if peers else -1), _WORD.size)
    os.pwrite(descriptor, _WORD.pack(MAGIC), 0)  # last: a process that sees it sees the rest
    return descriptor


def size_of(writers: int, names: int) -> int:
    """Bytes of a table."""
    words = HEADER_WORDS + writers * (CONTROL_WORDS + HEARTBEAT_WORDS + (names + 1) * COLUMNS)
    return 8 * (words + writers * (names * NAME_BYTES // 8 + RELAY_ENTRIES * RELAY_COLUMNS))

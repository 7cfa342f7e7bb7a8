"""What the workers of one machine remember of conversations: one piece of shared memory.

Each worker writes to a region of its own and reads all, so nobody waits for a lock. A region is a hash table of buckets of
four: of a full bucket the session that has been silent longest is forgotten. An entry ends with a checksum; one that is read
while it is being written does not match and counts as not there.
"""

import mmap
import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from sidecar.errors import ConfigError
from sidecar.fleet.memory import share

MAGIC = b"RSSESS01"
BUCKET = 4
_HEADER = struct.Struct("<8sII")  # magic, regions, slots
_HEADER_BYTES = 64
_ENTRY = struct.Struct("<QQddddI")  # key, model, tokens, spent, cost, seen, failed
_SUM = struct.Struct("<I")
_KEY = struct.Struct("<Q")
_ENTRY_BYTES = 64


class Remembered(NamedTuple):
    """Where a session stood after its latest turn.

    Attributes:
        model: digest of the name of the candidate that answered; see `digest`.
        tokens: of the prompt and the expected answer: what the next prompt begins with.
        spent_usd: what changes of the model have cost so far.
        cost_usd: what the calls were expected to cost so far.
        seen: when it was decided, in Unix seconds.
        failed: whether the turn brought no answer.
    """

    model: int
    tokens: float
    spent_usd: float
    cost_usd: float
    seen: float
    failed: bool = False


def digest(name: str) -> int:
    """64 bits that stand for a name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def create(path: Path, regions: int, slots: int) -> int:
    """Makes an empty table at a path where there is nothing. It lives as long as this process.

    Args:
        path: in a directory that only this sidecar uses.
        regions: how many workers there are.
        slots: sessions that each remembers; rounded up to whole buckets.

    Returns:
        A file descriptor, to be kept open as long as others may open the path.

    Raises:
        ConfigError: there is no memory, or something at that path.
    """
    slots = max(1, -(-slots // BUCKET)) * BUCKET
    descriptor = share(path, _HEADER_BYTES + regions * slots * _ENTRY_BYTES)
    os.pwrite(descriptor, _HEADER.pack(MAGIC, regions, slots), 0)
    return descriptor


class SessionTable:
    """The sessions of one machine, as one worker sees them. Belongs to one thread.

    Args:
        path: of the file that `create` made.
        region: the worker's own, from 0.

    Raises:
        ConfigError: there is no table, one of another layout, or it has no such region.
    """

    def __init__(self, path: Path, region: int) -> None:
        try:
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
            magic, regions, slots = _HEADER.unpack_from(self._map)
        except (OSError, ValueError, struct.error):
            raise ConfigError(f"{path}: cannot be opened; is its supervisor running?") from None
        size = _HEADER_BYTES + regions * slots * _ENTRY_BYTES
        if magic != MAGIC or not 0 <= region < regions or len(self._map) != size:
            raise ConfigError(f"{path}: is no table of sessions with a region {region}; restart the whole sidecar.")
        self._buckets = slots // BUCKET
        span = slots * _ENTRY_BYTES
        self._own = _HEADER_BYTES + region * span
        self._regions = [_HEADER_BYTES + number * span for number in range(regions)]

    def look(self, session: str) -> Remembered | None:
        """The latest that any worker remembers of a session."""
        key = _key(session)
        latest: Remembered | None = None
        for region in self._regions:
            place = self._place(region, key)
            if place is not None:
                found = self._read(place, key)
                if found is not None and (latest is None or found.seen > latest.seen):
                    latest = found
        return latest

    def keep(self, session: str, entry: Remembered) -> None:
        """Remembers a session; forgets the one of its bucket that has been silent longest, if need be."""
        key = _key(session)
        place = self._place(self._own, key)
        if place is None:
            start = self._own + key % self._buckets * BUCKET * _ENTRY_BYTES
            places = range(start, start + BUCKET * _ENTRY_BYTES, _ENTRY_BYTES)
            place = min(places, key=self._seen)
        packed = _ENTRY.pack(key, *entry)
        self._map[place : place + _ENTRY.size + _SUM.size] = packed + _SUM.pack(crc32(packed))

    def fail(self, session: str, unix: float) -> None:
        """Remembers that the latest turn of a session brought no answer."""
        entry = self.look(session)
        if entry is not None:
            self.keep(session, entry._replace(failed=True, seen=max(unix, entry.seen)))

    def _place(self, region: int, key: int) -> int | None:
        start = region + key % self._buckets * BUCKET * _ENTRY_BYTES
        for place in range(start, start + BUCKET * _ENTRY_BYTES, _ENTRY_BYTES):
            if _KEY.unpack_from(self._map, place)[0] == key:
                return place
        return None

    def _read(self, place: int, key: int) -> Remembered | None:
        raw = self._map[place : place + _ENTRY.size + _SUM.size]
        if _SUM.unpack_from(raw, _ENTRY.size)[0] != crc32(raw[: _ENTRY.size]):
            return None
        found, model, tokens, spent_usd, cost_usd, seen, failed = _ENTRY.unpack_from(raw)
        return Remembered(model, tokens, spent_usd, cost_usd, seen, bool(failed)) if found == key else None

    def _seen(self, place: int) -> float:
        # An empty place has been silent since 1970.
        seen: float = _ENTRY.unpack_from(self._map, place)[5]
        return seen


def _key(session: str) -> int:
    return digest(session) or 1  # 0 marks an empty place

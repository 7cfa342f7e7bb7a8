"""Reads the journals' files from where they were left off, and tells apart what is not there yet, torn, or spoilt."""

import enum
import os
from pathlib import Path
from typing import NamedTuple

from sidecar.ledger.frames import HEAD_BYTES, Frame, Kind, announced, scan
from sidecar.ledger.segments import HEAD, abandoned

CHUNK_BYTES = 4 << 20
_KINDS = frozenset(Kind)
_KIND_AT = HEAD_BYTES - 1


class State(enum.Enum):
    """What follows behind the frames that were read."""

    MORE = "more"  # to be read at once
    OPEN = "open"  # its writer may add to it
    DONE = "done"  # nothing; it may go
    TORN = "torn"  # what its writer did not finish, and nobody was told of; it may go
    SPOILT = "spoilt"  # changed after it was written: what lies behind may be worth something to somebody
    FOREIGN = "foreign"  # of another version of the program


class Reading(NamedTuple):
    """What was read of a segment.

    Attributes:
        frames: whole and unharmed.
        position: behind them.
        state: of what follows.
        rest: bytes that follow.
    """

    frames: list[Frame]
    position: int
    state: State
    rest: int


def read(path: Path, position: int, most: int = CHUNK_BYTES) -> Reading:
    """Reads on in a segment.

    Args:
        path: of the file.
        position: from which on; 0 at first.
        most: bytes to read at once, unless a single frame is larger.

    Raises:
        OSError: it cannot be read.
    """
    # Before the reading: what is missing then will never come.
    over = abandoned(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if not position:
            head = os.pread(descriptor, len(HEAD), 0)
            if head != HEAD:
                state = _headless(head, over=over)
                return Reading([], 0, state, size)
            position = len(HEAD)
        data = memoryview(os.pread(descriptor, most, position))
        frames = list(scan(data, position))
        if not frames and len(data) < announced(data) <= size - position:
            data = memoryview(os.pread(descriptor, announced(data), position))
            frames = list(scan(data, position))
        if frames:
            data = data[frames[-1].end - position :]
            position = frames[-1].end
        rest = max(0, size - position)
        if rest > len(data):
            data = memoryview(os.pread(descriptor, rest, position)) if not frames else data
            if frames:
                return Reading(frames, position, State.MORE, rest)
    finally:
        os.close(descriptor)
    return Reading(frames, position, _state(data, over=over), rest)


def salvaged(path: Path, position: int) -> list[Frame]:
    """The unharmed frames behind one that was changed after it was written, as far as its length can be believed.

    Only where frame follows frame: what lies inside one may be a caller's text that looks like a frame.

    Args:
        path: of a segment that is spoilt.
        position: of the first frame that cannot be read.

    Raises:
        OSError: it cannot be read.
    """
    data = memoryview(path.read_bytes())
    frames: list[Frame] = []
    while (size := announced(data[position:])) > HEAD_BYTES:  # no record is empty, but a run of zeros would be many
        whole = list(scan(data[position + size :], position + size))
        frames += whole
        position = whole[-1].end if whole else position + size
    return frames


def _headless(head: bytes, *, over: bool) -> State:
    if len(head) == len(HEAD) and any(head):
        return State.FOREIGN
    return State.TORN if over else State.OPEN


def _state(rest: memoryview, *, over: bool) -> State:
    if not over:
        return State.OPEN
    if not rest:
        return State.DONE
    return State.SPOILT if _whole_somewhere(rest) or _complete(rest) else State.TORN


def _complete(rest: memoryview) -> bool:
    """Whether a frame lies there in its full length: then it was written, and changed since."""
    return any(rest) and 0 < announced(rest) <= len(rest)


def _whole_somewhere(rest: memoryview) -> bool:
    """Whether an unharmed frame lies further behind."""
    return any(
        rest[at + _KIND_AT] in _KINDS and next(scan(rest[at:]), None) is not None
        for at in range(len(rest) - HEAD_BYTES + 1)
    )

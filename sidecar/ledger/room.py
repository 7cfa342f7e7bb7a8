"""How much more the journals may take, so that neither they nor an absent store fill the disk."""

import os
from pathlib import Path

from sidecar.ledger.segments import taken

LOOK_S = 1.0
# Decisions give way to outcomes: they stop at this share of the journals' room, and at twice the free space.
DECISIONS_SHARE = 0.75
_REMEDY = "look at the store (ledger.url), or raise ledger.journal_bytes"


class Room:
    """Looks now and then; counts what this writer adds in between.

    Args:
        folder: of the journals.
        journal_bytes: most that all journals may take.
        free_bytes: what the disk must have left.

    Attributes:
        decisions: whether decisions may be written.
        refusal: why outcomes may not be written; empty if they may.
    """

    def __init__(self, folder: Path, journal_bytes: int, free_bytes: int) -> None:
        self.decisions, self.refusal = True, ""
        self._folder = folder
        self._most, self._least = journal_bytes, free_bytes
        self._looked = float("-inf")
        self._taken = self._free = 0

    def add(self, size: int) -> None:
        """Counts bytes that were written."""
        self._taken += size
        self._free -= size
        self._judge()

    def look(self, now: float) -> None:
        """Looks at the disk, once a second.

        Args:
            now: monotonic seconds.
        """
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        try:
            self._taken = taken(self._folder)
            status = os.statvfs(self._folder)
        except OSError as error:
            self.decisions, self.refusal = False, f"ledger.directory: cannot be read: {error.strerror}; mount it again."
            return
        self._free = status.f_bavail * status.f_frsize
        self._judge()

    def _judge(self) -> None:
        self.decisions = self._taken < self._most * DECISIONS_SHARE and self._free >= 2 * self._least
        if self._taken >= self._most:
            self.refusal = f"ledger: the journals hold {self._taken} bytes that no store has taken; {_REMEDY}."
        elif self._free < self._least:
            self.refusal = f"ledger: its disk has {max(0, self._free)} bytes left, less than ledger.free_bytes = {self._least}; free some."
        else:
            self.refusal = ""

"""Whole, untorn copies of what all processes know of some candidates."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.columns import COLUMNS
from sidecar.fleet.layout import CONTROL_WORDS, HEARTBEAT_WORDS, IDENTITY, SEQUENCE
from sidecar.fleet.table import FleetTable, key_of

# A section is odd for a microsecond; who meets it more often met a writer that lost its core, or its life.
TRIES = 4

Block = NDArray[np.float64]


class Reader:
    """Reads the rows of the same names from every section.

    Args:
        table: the fleet's.
        names: [C] whose rows are read.
        without: a section that is left out, this process's own; -1: none.
        spare: further blank entries [C] at the end of what is read, for the caller's own rows.

    Attributes:
        writers: [W] the sections that `read` covers, as of the last call.
        beats: where their signs of life stand in FleetTable.beats.
        peers: where among them that of other sidecars is; -1: it is not.
        torn: how often a section could not be read whole, and its former state had to do.
        reads: how often there was something to read; while it stays the same, so does what the others wrote.
    """

    def __init__(self, table: FleetTable, names: Sequence[str], without: int = -1, spare: int = 0) -> None:
        self._table = table
        self._keys = [key_of(name) for name in names]
        self._without = without
        self._more = spare
        self._flat = table.rows.reshape(-1, COLUMNS)
        self._identities = table.control[:, IDENTITY]
        self._seen = b""
        self.writers: NDArray[np.intp] = np.zeros(0, np.intp)
        self._words = table.control_words
        self._sequences: list[int] = []  # where those of the writers stand
        self._read: list[int] = []  # what they were then; none if not all was whole
        self._places: NDArray[np.intp] = np.zeros(0, np.intp)
        self._block: Block = np.zeros((spare, len(self._keys), COLUMNS))
        self._spare: Block = self._block.copy()
        self.beats: list[int] = []
        self.peers = -1
        self.torn = 0
        self.reads = 0

    def read(self) -> Block:
        """[W + spare, C, COLUMNS]; zeros where a process does not know a name. Valid until the next call but one."""
        if self._identities.tobytes() != self._seen:
            self._find()
        words, places = self._words, self._sequences
        before = [words[place] for place in places]
        if before == self._read:
            return self._block
        block = self._spare
        whole = block[: self.writers.size]
        rows = whole.reshape(-1, COLUMNS)
        self.reads += 1
        for _ in range(TRIES):
            self._flat.take(self._places, axis=0, out=rows, mode="clip")
            after = [words[place] for place in places]
            bad = [then != now or now % 2 for then, now in zip(before, after, strict=True)]
            if not any(bad):
                self._read = after
                break
            before = after
        else:
            self.torn += sum(map(bool, bad))
            self._read = []
            torn = np.array(bad, np.bool_)
            whole[torn] = self._block[: self.writers.size][torn]
        if self._identities.tobytes() != self._seen:
            return self.read()  # rows got other names meanwhile
        self._spare, self._block = self._block, block
        return block

    def _find(self) -> None:
        """Learns which row of which section has which name."""
        table, former = self._table, self.writers
        while True:
            seen = self._identities.tobytes()
            writers = [int(writer) for writer in table.claimed() if writer != self._without]
            places = []
            for writer in writers:
                start = writer * (table.names + 1)
                index = {key: start + row for row, key in enumerate(table.label(writer))}
                places.append([index.get(key, start + table.names) for key in self._keys])
            if seen == self._identities.tobytes():
                break
        self._seen = seen
        self.writers = np.array(writers, np.intp)
        self.peers = writers.index(table.peers) if table.peers in writers else -1
        self._places = np.array(places, np.intp).reshape(-1)
        self._sequences = [writer * CONTROL_WORDS + SEQUENCE for writer in writers]
        self._read = []
        self.beats = [writer * HEARTBEAT_WORDS for writer in writers]
        self.reads += 1
        block = np.zeros((len(writers) + self._more, len(self._keys), COLUMNS))
        for place, writer in enumerate(writers):
            kept = np.flatnonzero(former == writer)
            if kept.size:
                block[place] = self._block[kept[0]]
        self._block, self._spare = block, block.copy()

"""The shared memory in which the processes of one sidecar tell each other what they know of the candidates.

Every process has a section of its own, the only one that it writes, and reads all others'. No locks: a section carries a
sequence number that is odd while it is written (a seqlock), and whoever reads makes sure that it was even and the same
before and after. That rests on stores becoming visible in order, as x86-64 guarantees.

A section names its rows itself. So there is nothing to agree on: two processes that know different candidates, as while a
bundle is swapped, never misread each other, and a row belongs to whatever name stands beside it.

Layout, little-endian words of 8 bytes: header; for each writer a line of control words and its heartbeat; the rows
[writers, names + 1, COLUMNS] whose last one is never written; the names; the relays (see relay.py).
"""

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import ConfigError
from sidecar.fleet.columns import COLUMNS
from sidecar.fleet.layout import (
    CONTROL_WORDS,
    HEADER_WORDS,
    HEARTBEAT_WORDS,
    IDENTITY,
    MAGIC,
    NAME_BYTES,
    NAMES,
    RELAY_COLUMNS,
    RELAY_ENTRIES,
    VERSION,
    make,
    size_of,
)


class FleetTable:
    """The mapped table; `create` and `attach` make one.

    Attributes:
        writers: sections.
        names: rows of a section.
        peers: the section for what is heard of other sidecars (see sidecar.fleet.peers); -1: there is none.
        control: int64 [writers, CONTROL_WORDS].
        heartbeats: [writers] monotonic seconds of each writer's last sign of life.
        reports: [writers, 2] end and begin of the latest span in which the gateway surely lived on as each knows, monotonic
            seconds (see reports.py).
        rows: [writers, names + 1, COLUMNS]; the last row of each is blank.
        labels: bytes [writers, names], the names of the rows.
        relays: [writers, RELAY_ENTRIES, RELAY_COLUMNS].
        path: where it can be attached.
    """

    def __init__(self, memory: mmap.mmap, path: Path, descriptor: int = -1) -> None:
        self.path = path
        self._memory = memory
        self._descriptor = descriptor  # open as long as somebody may attach
        header = np.frombuffer(memory, np.int64, HEADER_WORDS)
        self.writers, self.names, self.peers = int(header[2]), int(header[3]), int(header[5])
        at = HEADER_WORDS
        words = np.frombuffer(memory, np.int64)
        control_end = at + self.writers * CONTROL_WORDS
        self.control: NDArray[np.int64] = words[at:control_end].reshape(self.writers, CONTROL_WORDS)
        # Single words are written through this: several times faster than through numpy.
        self.control_words = memoryview(memory)[at * 8 : control_end * 8].cast("q")
        at, beats_end = control_end, control_end + self.writers * HEARTBEAT_WORDS
        numbers = words.view(np.float64)
        lines: NDArray[np.float64] = numbers[at:beats_end].reshape(self.writers, HEARTBEAT_WORDS)
        self.heartbeats, self.reports = lines[:, 0], lines[:, 1:3]
        self.beats = memoryview(memory)[at * 8 : beats_end * 8].cast("d")
        at, rows_end = beats_end, beats_end + self.writers * (self.names + 1) * COLUMNS
        self.rows: NDArray[np.float64] = numbers[at:rows_end].reshape(self.writers, self.names + 1, COLUMNS)
        at, labels_end = rows_end, rows_end + self.writers * self.names * NAME_BYTES // 8
        self.labels: NDArray[np.bytes_] = words[at:labels_end].view(f"S{NAME_BYTES}").reshape(self.writers, self.names)
        at, end = labels_end, labels_end + self.writers * RELAY_ENTRIES * RELAY_COLUMNS
        self.relays: NDArray[np.float64] = numbers[at:end].reshape(self.writers, RELAY_ENTRIES, RELAY_COLUMNS)

    @classmethod
    def create(cls, path: Path, writers: int, names: int = 512, *, peers: bool = False) -> "FleetTable":
        """Makes a new, empty table, and attaches to it; see sidecar.fleet.layout.make."""
        descriptor = make(path, writers, names, peers=peers)
        return cls(mmap.mmap(descriptor, 0), path, descriptor)

    @classmethod
    def attach(cls, path: Path) -> "FleetTable":
        """Opens a table that another process made.

        Raises:
            ConfigError: there is none, or one of another version.
        """
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError as error:
            raise ConfigError(f"fleet: {path}: {error.strerror}; is its supervisor running?") from None
        try:
            size = os.fstat(descriptor).st_size
            memory = mmap.mmap(descriptor, 0) if size >= HEADER_WORDS * 8 else None
        finally:
            os.close(descriptor)
        if memory is not None:
            header = np.frombuffer(memory, np.int64, HEADER_WORDS)
            magic, version, writers, names, columns = (int(word) for word in header[:5])
            if (magic, version, columns) == (MAGIC, VERSION, COLUMNS) and size == size_of(writers, names):
                return cls(memory, path)
        raise ConfigError(
            f"fleet: {path} is no fleet table of version {VERSION}; restart the whole sidecar after an update."
        )

    def close(self) -> None:
        """Nobody can attach any more; who has, may go on."""
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def lock_path(self, writer: int) -> Path:
        """The file that the owner of a section holds locked."""
        return self.path.with_name(f"{self.path.name}.{writer}.lock")

    def beat(self, writer: int, now: float) -> None:
        """A sign of life; from any thread of the writer."""
        self.beats[writer * HEARTBEAT_WORDS] = now

    def claimed(self) -> NDArray[np.intp]:
        """The writers that there are or have been."""
        return np.flatnonzero(self.control[:, IDENTITY])

    def label(self, writer: int) -> list[bytes]:
        """The names of a writer's rows, in order."""
        labels: list[bytes] = self.labels[writer, : int(self.control[writer, NAMES])].tolist()
        return labels


def key_of(name: str) -> bytes:
    """A candidate's name as it stands in the table.

    Raises:
        ConfigError: it is empty, too long or has a zero in it.
    """
    key = name.encode()
    if not key or len(key) > NAME_BYTES or b"\0" in key:
        raise ConfigError(
            f"candidates: the model name {name[:64]!r} has {len(key)} bytes; give 1 to {NAME_BYTES}, none of them zero."
        )
    return key

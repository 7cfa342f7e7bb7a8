"""The ledger as an operator sees it: the store, and what lies in the journals beside it."""

from pathlib import Path
from typing import NamedTuple

from sidecar.errors import RouterError
from sidecar.ledger.aside import NAME
from sidecar.ledger.segments import CORRUPT, FOLDER, segments
from sidecar.ledger.settings import SQLITE, LedgerConfig, location, shown
from sidecar.ledger.store import Store, StoreError, open_store
from sidecar.ledger.tail import State, read


class Journals(NamedTuple):
    """What lies in the directory.

    Attributes:
        segments: files of journals.
        backlog_bytes: that are not imported yet.
        spoilt: files that were changed after they were written.
        refused_bytes: of records that the store refused.
    """

    segments: int
    backlog_bytes: int
    spoilt: int
    refused_bytes: int


def existing_store(config: LedgerConfig) -> Store:
    """The configured store, if there is one already.

    Raises:
        StoreError: there is none, or not of this version.
        StoreAway: it does not answer.
    """
    if not config.directory:
        raise StoreError("ledger.directory: is not set, so there is no ledger; name a directory in the configuration.")
    kind, where = location(config)
    if kind == SQLITE and not Path(where).exists():
        raise StoreError(f"ledger.url: there is no {shown(where)} yet; start the sidecar, which makes it.")
    store = open_store(config)
    try:
        store.check()
    except RouterError:
        store.close()
        raise
    return store


def journals(config: LedgerConfig, positions: dict[str, int]) -> Journals:
    """What lies in the directory.

    Args:
        config: with a directory.
        positions: of the store.
    """
    directory = Path(config.directory)
    folder = directory / FOLDER
    found = segments(folder) if folder.is_dir() else []
    backlog = sum(max(0, segment.size - positions.get(segment.path.name, 0)) for segment in found)
    spoilt = len(list(folder.glob(f"*{CORRUPT}"))) if found or folder.is_dir() else 0
    refused = directory / NAME
    return Journals(len(found), backlog, spoilt, refused.stat().st_size if refused.exists() else 0)


def faults(config: LedgerConfig, store: Store) -> list[str]:
    """What is wrong with the store and the journals; empty if nothing is.

    Raises:
        StoreAway: the store does not answer.
    """
    found = store.verify()
    positions = store.positions()
    folder = Path(config.directory) / FOLDER
    for segment in segments(folder) if folder.is_dir() else []:
        position, state = positions.get(segment.path.name, 0), State.MORE
        while state is State.MORE:
            _, position, state, rest = read(segment.path, position)
        if state in (State.SPOILT, State.FOREIGN):
            found.append(f"{segment.path.name}: {rest} bytes from {position} on are {state.value}")
    state_of = journals(config, positions)
    if state_of.spoilt:
        found.append(f"{state_of.spoilt} files of journals were changed after they were written (*{CORRUPT})")
    if state_of.refused_bytes:
        found.append(f"{state_of.refused_bytes} bytes of records were refused by the store (file `{NAME}`)")
    return found

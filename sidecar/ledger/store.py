"""Where records end up: the one interface of SQLite and PostgreSQL."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sidecar.errors import RouterError
from sidecar.ledger.rows import ID_BYTES, Added, Decision, Import, Reported
from sidecar.ledger.settings import SQLITE, LedgerConfig, location


class StoreError(RouterError):
    """The store cannot be used as it is: a newer or unknown schema, a wrong address, no right to write."""

    status = "FAILED_PRECONDITION"


class StoreAway(RouterError):
    """The store does not answer, is locked or full; it may be there later."""

    status = "UNAVAILABLE"


class Unacceptable(RouterError):
    """The store refuses a record for what it is, and always will."""

    status = "INTERNAL"


class Stat(NamedTuple):
    """What a store holds.

    Attributes:
        decisions: rows.
        outcomes: rows.
        unknown: outcomes of decisions that are not there: not yet, not any more, or of another sidecar.
        oldest: Unix seconds of the first decision; None if there is none.
        newest: Unix seconds of the last decision.
        dropped: decisions that were never recorded, by reason.
        used_bytes: that rows and indexes take.
    """

    decisions: int
    outcomes: int
    unknown: int
    oldest: float | None
    newest: float | None
    dropped: dict[str, int]
    used_bytes: int


class Which(NamedTuple):
    """Which decisions are asked for.

    Attributes:
        since: first id; see rows.first_id.
        before: the id behind the last.
        segment: None: any.
        model: candidate or model that was chosen, or that the caller would have used; empty: any.
        log_only: only decisions that were not applied, and whose caller said which model it uses.
    """

    since: bytes = b""
    before: bytes = b"\xff" * ID_BYTES
    segment: str | None = None
    model: str = ""
    log_only: bool = False


class Store(Protocol):
    """Decisions and outcomes. Not to be shared between threads.

    Every method may raise StoreAway; it may be called again then.
    """

    def migrate(self) -> int:
        """Makes or renews the tables, and gives the schema's version.

        Raises:
            StoreError: the schema is newer than this program.
        """
        ...

    def check(self) -> None:
        """Sees to it that the schema is the one of this program, without changing it.

        Raises:
            StoreError: it is another one, or there is none.
        """
        ...

    def add(self, batch: Import) -> Added:
        """Adds records and remembers the positions, all or nothing, durably. What is there already stays as it is.

        Raises:
            Unacceptable: the store refuses a record for what it is.
        """
        ...

    def positions(self) -> dict[str, int]:
        """How far each segment is imported, by its name."""
        ...

    def forget(self, segments: Sequence[str]) -> None:
        """Forgets the positions of segments that are deleted."""
        ...

    def decisions(self, since: bytes, before: bytes, limit: int) -> list[Decision]:
        """Decisions with ids from `since` on and less than `before`, in order of time, at most `limit`."""
        ...

    def select(self, which: Which, limit: int, *, newest: bool = False) -> list[Decision]:
        """Some decisions, without embedding and prompt, at most `limit`: the first in order of time, or the newest first.

        Reads what lies between the ones that are found, too: a segment that is rare takes a look at all the others.
        """
        ...

    def find(self, ids: Sequence[bytes]) -> list[Decision]:
        """The decisions of these ids that are there, in any order."""
        ...

    def outcomes(self, first: bytes, last: bytes) -> list[Reported]:
        """Outcomes of the decisions from `first` to `last`, both included, in order of the decision's id."""
        ...

    def outcomes_of(self, ids: Sequence[bytes]) -> list[Reported]:
        """Outcomes of these decisions; those of one decision stand together, in order of import."""
        ...

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Which of these decisions are there."""
        ...

    def stat(self) -> Stat:
        """What it holds; looks for the decision of every outcome, so it may take seconds for each million."""
        ...

    def used_bytes(self) -> int:
        """Bytes that rows and indexes take; less than the files, which keep what was deleted for what comes."""
        ...

    def expire(self, before: bytes, limit: int) -> int:
        """Deletes decisions with ids less than `before`, the oldest first, at most `limit`, and their outcomes.

        Returns:
            How many decisions and outcomes were deleted; 0 if none is left.
        """
        ...

    def border(self, share: float) -> bytes:
        """The id before which this share of what it holds lies, 0 to 1: what `expire` takes. Counts rows, so ask now and then."""
        ...

    def reclaim(self) -> bool:
        """Gives some of the space that was freed back to the system, if there is much of it; says whether there is more."""
        ...

    def verify(self) -> list[str]:
        """What is wrong with it; empty if nothing is."""
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...


def open_store(config: LedgerConfig) -> Store:
    """The configured store, not migrated yet.

    Raises:
        ConfigError: the URL is none of ours.
        StoreError: it cannot be used, or a package is missing.
        StoreAway: it does not answer.
    """
    kind, where = location(config)
    if kind == SQLITE:
        from sidecar.ledger.sqlite import SqliteStore  # noqa: PLC0415 - whoever has the one store needs not the other

        return SqliteStore(where)
    from sidecar.ledger.postgres import PostgresStore  # noqa: PLC0415

    return PostgresStore(where)

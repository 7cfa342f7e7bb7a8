"""The embedded store: one file, written by one process and read by any."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidecar.ledger import schema
from sidecar.ledger.rows import Added, Import, Row
from sidecar.ledger.store import StoreAway, StoreError, Unacceptable
from sidecar.ledger.tables import Tables, insertion, remembering

LOCKED_S = 5.0
_PAGE_BYTES = 8192
# Pages that are given back at once: they are moved, and the import waits meanwhile.
_RECLAIM_PAGES = 1024
_SPARE = 0.1
_SCHEMA = "SELECT max(version) FROM ledger_schema"


class SqliteStore(Tables):
    """A file, made if need be, readable by its owner alone.

    Args:
        path: of the file; its directory must exist.

    Raises:
        StoreError: it cannot be opened, or is no SQLite file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"ledger.url: {path} cannot be written: {error.strerror}; name a file that can.") from None
        try:
            self._connection = sqlite3.connect(path, LOCKED_S, isolation_level=None, check_same_thread=False)
            for setting in (
                f"page_size = {_PAGE_BYTES}",
                "auto_vacuum = INCREMENTAL",
                "journal_mode = WAL",
                # Segments of journals are deleted once they are here: a commit must be on the disk.
                "synchronous = FULL",
                "cache_size = -16384",
            ):
                self._connection.execute(f"PRAGMA {setting}")
        except sqlite3.OperationalError as error:
            raise StoreAway(f"ledger.url: {path}: {error}.") from None
        except sqlite3.DatabaseError as error:
            raise StoreError(f"ledger.url: {path}: {error}; move it away, or name another file.") from None

    def migrate(self) -> int:
        """See Store."""
        with self._transaction() as run:
            run("CREATE TABLE IF NOT EXISTS ledger_schema (version INTEGER PRIMARY KEY, migrated_at REAL NOT NULL)")
            version = run(_SCHEMA).fetchone()[0] or 0
            self._check_version(version)
            for step in range(version + 1, schema.VERSION + 1):
                for statement in schema.statements(step, schema.SQLITE_WORDS):
                    run(statement)
                run("INSERT INTO ledger_schema VALUES (?, ?)", (step, time.time()))
        return schema.VERSION

    def add(self, batch: Import) -> Added:
        """See Store."""
        with self._transaction() as run:
            many = self._connection.executemany
            many(insertion("bundles", schema.BUNDLES), batch.bundles.values())
            many(insertion("candidate_sets", schema.CANDIDATE_SETS), batch.candidate_sets.values())
            decisions = (
                many(insertion("decisions", schema.DECISIONS), batch.decisions).rowcount if batch.decisions else 0
            )
            outcomes = many(insertion("outcomes", schema.OUTCOMES), batch.outcomes).rowcount if batch.outcomes else 0
            many(insertion("drops", schema.DROPS), batch.drops)
            for segment, position in batch.positions.items():
                run(remembering(), (segment, position, time.time()))
        return Added(decisions, outcomes)

    def used_bytes(self) -> int:
        """See Store."""
        pages, free, size = (
            self._rows(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def reclaim(self) -> bool:
        """See Store; a tenth of the file stays free for what comes, since it would only grow again."""
        pages, free = (self._rows(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count"))
        spare = int(free - _SPARE * pages)
        if spare <= 0:
            return False
        with self._faults():
            # Python's execute takes a single step of it, which is one page; executescript goes on to the end.
            self._connection.executescript(f"PRAGMA incremental_vacuum({min(spare, _RECLAIM_PAGES)})")
        return spare > _RECLAIM_PAGES

    def verify(self) -> list[str]:
        """See Store."""
        found = [str(row[0]) for row in self._rows("PRAGMA integrity_check(20)")]
        return ([] if found == ["ok"] else found) + super().verify()

    def close(self) -> None:
        """See Store."""
        self._connection.close()

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._faults():
            return self._connection.execute(statement, values).fetchall()

    def _run(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> int:
        with self._transaction() as run:
            return sum(run(statement, values).rowcount for statement, values in statements)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreAway(f"ledger.url: {Path(self._path).name}: {error}.") from None
        except (
            sqlite3.IntegrityError,
            sqlite3.DataError,
            sqlite3.ProgrammingError,
            OverflowError,
            ValueError,
        ) as error:
            raise Unacceptable(f"the store refuses a record: {type(error).__name__}") from None
        except sqlite3.DatabaseError as error:
            raise StoreError(f"ledger.url: {self._path}: {error}; run `router-sidecar ledger verify`.") from None

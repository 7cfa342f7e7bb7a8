"""The store of several sidecars: the same tables in PostgreSQL. Needs the extra `postgres`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sidecar.ledger import schema
from sidecar.ledger.rows import Added, Import, Row
from sidecar.ledger.settings import shown
from sidecar.ledger.store import StoreAway, StoreError, Unacceptable
from sidecar.ledger.tables import Tables, insertion, remembering

try:
    import psycopg
except ImportError:
    raise StoreError("ledger.url: PostgreSQL needs psycopg; install 'router-sidecar[postgres]'.") from None

CONNECT_S = 5
# Any number will do that no other program takes: sidecars that start at once migrate one after the other.
_LOCK = 0x726F757465
_INCOMING = {"decisions": schema.DECISIONS, "outcomes": schema.OUTCOMES}
_KINDS = dict.fromkeys((*schema.DECISIONS, *schema.OUTCOMES), "text") | {
    **dict.fromkeys(("decision_id", "expected", "ranking", "embedding", "exclusions"), "bytea"),
    **dict.fromkeys(("applied", "shadow"), "bool"),
    **dict.fromkeys(
        (
            "bundle_id",
            "candidate_set_id",
            "prompt_tokens",
            "source_rank",
            "input_tokens",
            "output_tokens",
            "cached_tokens",
        ),
        "int8",
    ),
    **dict.fromkeys(
        ("decided_at", "answer_value_usd", "second_value_usd", "propensity", "novelty", "received_at", "observed_at"),
        "float8",
    ),
    **dict.fromkeys(("quality", "latency_ms", "ttft_ms", "cost_usd"), "float8"),
}


class PostgresStore(Tables):
    """A database.

    Args:
        url: as libpq takes it.

    Raises:
        StoreError: it is refused: unknown user, database or option.
        StoreAway: it does not answer.
    """

    def __init__(self, url: str) -> None:
        self._name = shown(url)
        try:
            self._connection = psycopg.connect(
                url, autocommit=True, connect_timeout=CONNECT_S, application_name="router-sidecar"
            )
        except psycopg.OperationalError as error:
            # What the server says of it may quote the connection string.
            raise StoreAway(
                f"ledger.url: {self._name} does not answer ({error.sqlstate or 'no connection'})."
            ) from None
        except psycopg.Error as error:
            raise StoreError(f"ledger.url: {self._name} is no connection string ({type(error).__name__}).") from None
        self._ready = False

    def migrate(self) -> int:
        """See Store."""
        with self._transaction() as run:
            run("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            run(
                "CREATE TABLE IF NOT EXISTS ledger_schema "
                "(version INTEGER PRIMARY KEY, migrated_at DOUBLE PRECISION NOT NULL)"
            )
            row = run("SELECT max(version) FROM ledger_schema").fetchone()
            version = int(row[0] or 0)
            self._check_version(version)
            for step in range(version + 1, schema.VERSION + 1):
                for statement in schema.statements(step, schema.POSTGRESQL_WORDS):
                    run(statement)
                run("INSERT INTO ledger_schema VALUES (%s, %s)", (step, time.time()))
        return schema.VERSION

    def add(self, batch: Import) -> Added:
        """See Store."""
        now = time.time()
        with self._transaction() as run:
            self._prepare(run)
            # In order: two sidecars that add the same rows must not wait for each other.
            for table, columns, rows in (
                ("bundles", schema.BUNDLES, batch.bundles.values()),
                ("candidate_sets", schema.CANDIDATE_SETS, batch.candidate_sets.values()),
                ("drops", schema.DROPS, batch.drops),
            ):
                for row in sorted(rows):
                    run(_ours(insertion(table, columns)), row)
            decisions = self._copy(run, "decisions", batch.decisions)
            outcomes = self._copy(run, "outcomes", batch.outcomes)
            for segment, position in sorted(batch.positions.items()):
                run(_ours(remembering()), (segment, position, now))
        return Added(decisions, outcomes)

    def used_bytes(self) -> int:
        """See Store; the size of live rows, estimated from a sample, since deleted ones stay in PostgreSQL's files."""
        used = 0
        for table in ("decisions", "outcomes"):
            (rows,) = self._rows(f"SELECT count(*) FROM {table}")[0]  # noqa: S608 - our own names
            (width,) = self._rows(
                f"SELECT coalesce(avg(pg_column_size(t.*)), 0)::float8 FROM (SELECT * FROM {table} LIMIT 1000) t"  # noqa: S608
            )[0]
            used += int(rows * (width + _KEY_BYTES))
        return used

    def reclaim(self) -> bool:
        """See Store; PostgreSQL's own vacuum keeps it for what comes."""
        return False

    def close(self) -> None:
        """See Store."""
        self._connection.close()

    def _prepare(self, run: Any) -> None:
        if self._ready:
            return
        for table, columns in _INCOMING.items():
            run(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS incoming_{table} ON COMMIT DELETE ROWS AS "  # noqa: S608
                f"SELECT {', '.join(columns)} FROM {table} WITH NO DATA"
            )
        self._ready = True

    def _copy(self, run: Any, table: str, rows: Sequence[Row]) -> int:
        """Adds many rows: by far the cheapest way for both sides."""
        if not rows:
            return 0
        columns = ", ".join(_INCOMING[table])
        incoming = f"COPY incoming_{table} ({columns}) FROM STDIN (FORMAT BINARY)"
        with self._connection.cursor() as cursor, cursor.copy(incoming) as copy:
            copy.set_types([_KINDS[name] for name in _INCOMING[table]])
            for row in rows:
                copy.write_row(list(map(_kept, row)))
        added: int = run(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming_{table} ON CONFLICT DO NOTHING"  # noqa: S608
        ).rowcount
        return added

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._faults():
            return self._connection.execute(_ours(statement), values).fetchall()

    def _run(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> int:
        with self._transaction() as run:
            return sum(run(_ours(statement), values).rowcount for statement, values in statements)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        try:
            with self._faults(), self._connection.transaction():
                yield self._connection.execute
        except BaseException:
            self._ready = False  # the temporary tables may be undone too
            raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except psycopg.OperationalError as error:
            raise StoreAway(
                f"ledger.url: {self._name} does not answer ({error.sqlstate or 'no connection'})."
            ) from None
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise Unacceptable(f"the store refuses a record: {type(error).__name__}") from None
        except psycopg.Error as error:
            raise StoreError(f"ledger.url: {self._name}: {type(error).__name__} ({error.sqlstate}).") from None


# What a row takes beside its columns: its head, what pages leave free, and its entries in the indexes.
_KEY_BYTES = 96


def _kept(value: Any) -> Any:
    # PostgreSQL's texts cannot hold a NUL; those of requests may.
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if type(value) is str and "\0" in value else value


def _ours(statement: str) -> str:
    return statement.replace("?", "%s")

"""What both stores do in the same words of SQL."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from sidecar.errors import RouterError
from sidecar.ledger import schema
from sidecar.ledger.rows import ID_BYTES, PARTS, Decision, Reported, Row, decided_at
from sidecar.ledger.store import Stat, StoreError, Which

_REFERRED = ("b.name", "b.version", "b.digest", "s.names", "s.models")
_FROM = "FROM decisions d JOIN bundles b ON b.id = d.bundle_id JOIN candidate_sets s ON s.id = d.candidate_set_id "
_DECISIONS = f"SELECT {', '.join((*(f'd.{name}' for name in schema.DECISIONS), *_REFERRED))} {_FROM}"
# What takes most of a row's room, and is of no use to somebody who looks at many.
_HEAVY = ("embedding", "prompt")
_LIGHT = f"SELECT {', '.join((*('NULL' if name in _HEAVY else f'd.{name}' for name in schema.DECISIONS), *_REFERRED))} {_FROM}"
_OUTCOMES = f"SELECT seq, {', '.join(schema.OUTCOMES)} FROM outcomes "  # noqa: S608
_APPLIED, _SHADOW = schema.DECISIONS.index("applied"), 1 + schema.OUTCOMES.index("shadow")
_decoder: "msgspec.json.Decoder[tuple[str, ...]]" = msgspec.json.Decoder(tuple[str, ...])
_BEHIND_ALL = b"\xff" * (ID_BYTES + 1)
# Ids that are asked for at once: below the fewest parameters that a statement may have.
_MOST_IDS = 500


class Tables(ABC):
    """Queries. A store says how a statement with `?` for each value is run, and how rows are added."""

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of a query."""

    @abstractmethod
    def _run(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> int:
        """Runs statements in one transaction; gives how many rows they changed."""

    @abstractmethod
    def used_bytes(self) -> int:
        """See Store."""

    def check(self) -> None:
        """See Store."""
        try:
            version = self._rows("SELECT max(version) FROM ledger_schema")[0][0] or 0
        except RouterError:
            version = 0
        self._check_version(version)
        if version < schema.VERSION:
            raise StoreError(
                f"ledger.url: the store has schema {version}, and this program needs {schema.VERSION}; start the sidecar, "
                "which makes and renews it."
            )

    def positions(self) -> dict[str, int]:
        """See Store."""
        return {
            str(name): int(position) for name, position in self._rows("SELECT segment, position FROM journal_positions")
        }

    def forget(self, segments: Sequence[str]) -> None:
        """See Store."""
        self._run([("DELETE FROM journal_positions WHERE segment = ?", (name,)) for name in segments])

    def decisions(self, since: bytes, before: bytes, limit: int) -> list[Decision]:
        """See Store."""
        where = "WHERE d.decision_id >= ? AND d.decision_id < ? ORDER BY d.decision_id LIMIT ?"
        return [_decision(row) for row in self._rows(_DECISIONS + where, (since, before, limit))]

    def select(self, which: Which, limit: int, *, newest: bool = False) -> list[Decision]:
        """See Store."""
        tests = ["d.decision_id >= ?", "d.decision_id < ?"]
        values: list[object] = [which.since, which.before]
        if which.segment is not None:
            tests.append("d.segment = ?")
            values.append(which.segment)
        if which.model:
            names = self._called(which.model)
            tests.append(f"(d.candidate IN ({_marks(names)}) OR d.current_model IN ({_marks(names)}))")
            values += [*names, *names]
        if which.log_only:
            tests.append("NOT d.applied AND d.current_model <> ''")
        where = f"WHERE {' AND '.join(tests)} ORDER BY d.decision_id {'DESC' if newest else 'ASC'} LIMIT ?"
        return [_decision(row) for row in self._rows(_LIGHT + where, (*values, limit))]

    def find(self, ids: Sequence[bytes]) -> list[Decision]:
        """See Store."""
        return [
            _decision(row)
            for some in _slices(ids)
            for row in self._rows(f"{_DECISIONS}WHERE d.decision_id IN ({_marks(some)})", some)
        ]

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """See Store."""
        return {
            bytes(row[0])
            for some in _slices(ids)
            for row in self._rows(
                f"SELECT decision_id FROM decisions WHERE decision_id IN ({_marks(some)})",  # noqa: S608 - marks only
                some,
            )
        }

    def outcomes(self, first: bytes, last: bytes) -> list[Reported]:
        """See Store."""
        where = "WHERE decision_id >= ? AND decision_id <= ? ORDER BY decision_id, seq"
        return [_reported(row) for row in self._rows(_OUTCOMES + where, (first, last))]

    def outcomes_of(self, ids: Sequence[bytes]) -> list[Reported]:
        """See Store."""
        return [
            _reported(row)
            for some in _slices(ids)
            for row in self._rows(f"{_OUTCOMES}WHERE decision_id IN ({_marks(some)}) ORDER BY decision_id, seq", some)
        ]

    def stat(self) -> Stat:
        """See Store."""
        (decisions,) = self._rows("SELECT count(*) FROM decisions")[0]
        (outcomes,) = self._rows("SELECT count(*) FROM outcomes")[0]
        (unknown,) = self._rows(
            "SELECT count(*) FROM outcomes o WHERE NOT EXISTS "
            "(SELECT 1 FROM decisions d WHERE d.decision_id = o.decision_id)"
        )[0]
        ends = [
            self._rows(f"SELECT decision_id FROM decisions ORDER BY decision_id {way} LIMIT 1")  # noqa: S608
            for way in ("ASC", "DESC")
        ]
        oldest, newest = (decided_at(rows[0][0]) if rows else None for rows in ends)
        dropped = self._rows("SELECT reason, sum(amount) FROM drops GROUP BY reason ORDER BY reason")
        return Stat(
            decisions,
            outcomes,
            unknown,
            oldest,
            newest,
            {str(reason): int(amount) for reason, amount in dropped},
            self.used_bytes(),
        )

    def expire(self, before: bytes, limit: int) -> int:
        """See Store."""
        some = "DELETE FROM {0} WHERE {1} IN (SELECT {1} FROM {0} WHERE decision_id < ? ORDER BY decision_id LIMIT ?)"
        return self._run(
            [
                (some.format("decisions", "decision_id"), (before, limit)),
                (some.format("outcomes", "seq"), (before, limit)),
            ]
        )

    def border(self, share: float) -> bytes:
        """See Store."""
        amounts = {
            table: int(self._rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - our own names
            for table in ("decisions", "outcomes")
        }
        table = max(amounts, key=amounts.__getitem__)
        rows = self._rows(
            f"SELECT decision_id FROM {table} ORDER BY decision_id LIMIT 1 OFFSET ?",  # noqa: S608
            (math.ceil(share * amounts[table]),),
        )
        return bytes(rows[0][0]) if rows else _BEHIND_ALL

    def verify(self) -> list[str]:
        """See Store."""
        faults = []
        for what, query in (
            ("decisions name a bundle that is not there", "bundle_id NOT IN (SELECT id FROM bundles)"),
            ("decisions name candidates that are not there", "candidate_set_id NOT IN (SELECT id FROM candidate_sets)"),
            ("decisions have an id of a wrong length", "length(decision_id) <> 16"),
            ("decisions have a propensity outside (0, 1]", "NOT (propensity > 0 AND propensity <= 1)"),
        ):
            (count,) = self._rows(f"SELECT count(*) FROM decisions WHERE {query}")[0]  # noqa: S608
            faults += [f"{count} {what}"] if count else []
        for number, names in self._rows("SELECT id, names FROM candidate_sets"):
            size = 4 * PARTS * len(_names(names))
            (count,) = self._rows(
                "SELECT count(*) FROM decisions WHERE candidate_set_id = ? AND length(expected) <> ?", (number, size)
            )[0]
            faults += [f"{count} decisions have expectations of a wrong length"] if count else []
        (count,) = self._rows(
            "SELECT count(*) FROM outcomes WHERE NOT (quality IS NULL OR (quality >= 0 AND quality <= 1))"
        )[0]
        return [*faults, *([f"{count} outcomes have a quality outside [0, 1]"] if count else [])]

    def _called(self, model: str) -> list[str]:
        """All names of the candidate that a name means."""
        names = {model}
        for each, models in self._rows("SELECT names, models FROM candidate_sets"):
            for pair in zip(_names(each), _names(models), strict=True):
                names.update(pair if model in pair else ())
        return sorted(names)

    def _check_version(self, version: int) -> None:
        if version > schema.VERSION:
            raise StoreError(
                f"ledger.url: the store has schema {version}, and this program knows {schema.VERSION}; run the newer "
                "router-sidecar that made it, or name another store."
            )


def _slices(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (ids[at : at + _MOST_IDS] for at in range(0, len(ids), _MOST_IDS))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


@lru_cache(256)  # few sets of candidates, and a million decisions that name them
def _names(encoded: str) -> tuple[str, ...]:
    return _decoder.decode(encoded)


def insertion(table: str, columns: Sequence[str]) -> str:
    """A statement that adds a row unless it is there."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) ON CONFLICT DO NOTHING"  # noqa: S608


def remembering() -> str:
    """A statement that remembers how far a segment is imported."""
    return (
        f"INSERT INTO journal_positions ({', '.join(schema.POSITIONS)}) VALUES (?, ?, ?) "  # noqa: S608
        "ON CONFLICT (segment) DO UPDATE SET position = excluded.position, imported_at = excluded.imported_at"
    )


def _decision(row: Row) -> Decision:
    own, (name, version, digest, names, models) = list(row[: len(schema.DECISIONS)]), row[len(schema.DECISIONS) :]
    own[_APPLIED] = bool(own[_APPLIED])
    return Decision._make((*own, (name, version, digest), _names(names), _names(models)))


def _reported(row: Row) -> Reported:
    return Reported._make((*row[:_SHADOW], bool(row[_SHADOW]), *row[_SHADOW + 1 :]))

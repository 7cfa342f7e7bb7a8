"""The tables, and how older ones become them. One text serves both stores; what differs stands in braces."""

from collections.abc import Mapping

# Each entry brings a store from the version before to its own; what was released is never changed.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE bundles (id {INT} PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL)",
        "CREATE TABLE candidate_sets (id {INT} PRIMARY KEY, names TEXT NOT NULL, models TEXT NOT NULL)",
        """CREATE TABLE decisions (
            decision_id {BYTES} PRIMARY KEY,
            decided_at {FLOAT} NOT NULL,
            segment TEXT NOT NULL,
            session_id TEXT NOT NULL,
            policy TEXT NOT NULL,
            answer_value_usd {FLOAT} NOT NULL,
            second_value_usd {FLOAT} NOT NULL,
            bundle_id {INT} NOT NULL,
            candidate_set_id {INT} NOT NULL,
            candidate TEXT NOT NULL,
            applied {BOOL} NOT NULL,
            current_model TEXT NOT NULL,
            propensity {FLOAT} NOT NULL,
            reasons TEXT NOT NULL,
            novelty {FLOAT} NOT NULL,
            prompt_tokens {INT} NOT NULL,
            expected {BYTES} NOT NULL,
            embedding {BYTES},
            prompt TEXT
        ) {LAYOUT}""",
        """CREATE TABLE outcomes (
            seq {SERIAL},
            decision_id {BYTES} NOT NULL,
            key TEXT NOT NULL,
            source TEXT NOT NULL,
            source_rank {INT} NOT NULL,
            received_at {FLOAT} NOT NULL,
            observed_at {FLOAT} NOT NULL,
            model TEXT,
            quality {FLOAT},
            latency_ms {FLOAT},
            ttft_ms {FLOAT},
            input_tokens {INT},
            output_tokens {INT},
            cached_tokens {INT},
            cost_usd {FLOAT},
            error TEXT,
            labels TEXT,
            UNIQUE (decision_id, key)
        )""",
        """CREATE TABLE journal_positions (
            segment TEXT PRIMARY KEY,
            position {INT} NOT NULL,
            imported_at {FLOAT} NOT NULL
        )""",
    ),
    (
        # Which candidates were admissible, for evaluating other policies on these decisions.
        "ALTER TABLE decisions ADD COLUMN ranking {BYTES}",
        # Answers that were made in the background must not pass for those that users saw.
        "ALTER TABLE outcomes ADD COLUMN shadow {BOOL} NOT NULL DEFAULT {FALSE}",
        # What is missing, so that nobody takes the rest for the whole.
        """CREATE TABLE drops (
            writer TEXT NOT NULL,
            counted_at {FLOAT} NOT NULL,
            reason TEXT NOT NULL,
            amount {INT} NOT NULL,
            PRIMARY KEY (writer, counted_at, reason)
        )""",
    ),
    (
        # Who asks for a segment, or for what was decided in log-only mode, must not read through all the others.
        "CREATE INDEX decisions_of_segment ON decisions (segment, decision_id)",
        "CREATE INDEX decisions_unapplied ON decisions (decision_id) WHERE NOT applied",
    ),
    (
        # Why each candidate could not be chosen, for whoever must account for a decision.
        "ALTER TABLE decisions ADD COLUMN exclusions {BYTES}",
    ),
)
VERSION = len(MIGRATIONS)

SQLITE_WORDS = {
    "INT": "INTEGER",
    "FLOAT": "REAL",
    "BYTES": "BLOB",
    "BOOL": "INTEGER",
    "FALSE": "0",
    "SERIAL": "INTEGER PRIMARY KEY AUTOINCREMENT",
    # Ids begin with the time, so rows are appended, to one tree instead of two.
    "LAYOUT": "WITHOUT ROWID",
}
POSTGRESQL_WORDS = {
    "INT": "BIGINT",
    "FLOAT": "DOUBLE PRECISION",
    "BYTES": "BYTEA",
    "BOOL": "BOOLEAN",
    "FALSE": "FALSE",
    "SERIAL": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "LAYOUT": "",
}

BUNDLES = ("id", "name", "version", "digest")
CANDIDATE_SETS = ("id", "names", "models")
DECISIONS = (
    "decision_id",
    "decided_at",
    "segment",
    "session_id",
    "policy",
    "answer_value_usd",
    "second_value_usd",
    "bundle_id",
    "candidate_set_id",
    "candidate",
    "applied",
    "current_model",
    "propensity",
    "reasons",
    "novelty",
    "prompt_tokens",
    "expected",
    "ranking",
    "embedding",
    "prompt",
    "exclusions",
)
OUTCOMES = (
    "decision_id",
    "key",
    "source",
    "source_rank",
    "received_at",
    "observed_at",
    "model",
    "shadow",
    "quality",
    "latency_ms",
    "ttft_ms",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cost_usd",
    "error",
    "labels",
)
DROPS = ("writer", "counted_at", "reason", "amount")
POSITIONS = ("segment", "position", "imported_at")


def statements(version: int, words: Mapping[str, str]) -> list[str]:
    """What brings a store to this version from the one before.

    Args:
        version: from 1.
        words: of the store's dialect.
    """
    return [statement.format_map(words) for statement in MIGRATIONS[version - 1]]

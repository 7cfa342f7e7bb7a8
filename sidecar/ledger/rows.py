"""What goes into a store and comes out of it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from sidecar.ledger.outcome import Outcome
from sidecar.ledger.records import DecisionBatch, Drops, Record, Unreadable
from sidecar.routing.exclusion import Exclusion
from sidecar.types import Floats

ID_BYTES = 16
PARTS = 4  # quality, cost, seconds, utility
ONE_BYTE = 256
Row = tuple[Any, ...]
_EXCLUSIONS = {int(each): each for each in Exclusion}


class Decision(NamedTuple):
    """A decision as it is stored, in the order of schema.DECISIONS, with what its references stand for behind.

    Attributes are those of records.DecisionBatch for one row, beside:
        decided_at: Unix seconds.
        candidate: name of the chosen one.
        embedding: [D] float16, little endian; None if there is none.
        prompt: None if it is not kept.
        exclusions: as in the record; None if they were not recorded.
        bundle: name, version and digest.
        candidates: [C] names.
        models: [C] names that the gateway knows.
    """

    decision_id: bytes
    decided_at: float
    segment: str
    session_id: str
    policy: str
    answer_value_usd: float
    second_value_usd: float
    bundle_id: int
    candidate_set_id: int
    candidate: str
    applied: bool
    current_model: str
    propensity: float
    reasons: str
    novelty: float
    prompt_tokens: int
    expected: bytes
    ranking: bytes | None
    embedding: bytes | None
    prompt: str | None
    exclusions: bytes | None
    bundle: tuple[str, str, str]
    candidates: tuple[str, ...]
    models: tuple[str, ...]

    def expectations(self) -> Floats:
        """Quality, cost in USD, seconds and utility in USD of every candidate: [4, C]."""
        return np.frombuffer(self.expected, "<f4").reshape(PARTS, -1)

    def admissible(self) -> list[int]:
        """Output indices of the admissible candidates, best first; empty where they were not recorded."""
        kind = "u1" if len(self.candidates) <= ONE_BYTE else "<u2"
        indices: list[int] = np.frombuffer(self.ranking or b"", kind).tolist()
        return indices

    def excluded(self) -> list[Exclusion | None] | None:
        """Why each candidate could not be chosen, None for what this version does not know; None where it was not recorded."""
        if self.exclusions is None:
            return None
        numbers = self.exclusions or bytes(len(self.candidates))
        return [_EXCLUSIONS.get(number) for number in numbers]

    def served(self) -> str:
        """The model that answered if the gateway did as it said it would; empty if that is not known."""
        if not self.applied:
            return self.current_model
        return self.models[self.candidates.index(self.candidate)]


class Reported(NamedTuple):
    """An outcome as it is stored.

    Attributes are those of Outcome, beside:
        seq: order of import.
    """

    seq: int
    decision_id: bytes
    key: str
    source: str
    source_rank: int
    received_at: float
    observed_at: float
    model: str | None
    shadow: bool
    quality: float | None
    latency_ms: float | None
    ttft_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_usd: float | None
    error: str | None
    labels: str | None


class Added(NamedTuple):
    """What an import really added; the rest was there already."""

    decisions: int
    outcomes: int


@dataclass
class Import:
    """What goes into a store in one transaction, by the tables of the schema.

    Attributes:
        positions: by name of the segment, how far it is imported then.
    """

    bundles: dict[int, Row] = field(default_factory=dict)
    candidate_sets: dict[int, Row] = field(default_factory=dict)
    decisions: list[Row] = field(default_factory=list)
    outcomes: list[Row] = field(default_factory=list)
    drops: list[Row] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.decisions) + len(self.outcomes) + len(self.drops)

    def add(self, record: Record) -> None:
        """Adds what a frame of a journal held.

        Raises:
            Unreadable: the record's parts do not fit together; nothing was added.
        """
        if isinstance(record, DecisionBatch):
            self._add_decisions(record)
        elif isinstance(record, Drops):
            self.drops.append((record.writer, record.at, record.reason, record.amount))
        else:
            self.outcomes += map(outcome_row, record)

    def _add_decisions(self, batch: DecisionBatch) -> None:
        names, models = batch.candidates, batch.models
        bundle, chosen_from = identity(batch.bundle), identity((names, models))
        ids = list(_slices(batch.ids, ID_BYTES))
        exclusions: Sequence[bytes | None] = batch.exclusions or [None] * len(ids)
        try:
            chosen = [names[index] for index in batch.chosen]
        except IndexError:
            raise Unreadable("decisions for a candidate that is not there") from None
        rows = zip(
            ids,
            [decided_at(name) for name in ids],
            batch.segments,
            batch.sessions,
            batch.policies,
            batch.values,
            batch.seconds,
            [bundle] * len(ids),
            [chosen_from] * len(ids),
            chosen,
            batch.applied,
            batch.current,
            batch.propensity,
            batch.reasons,
            batch.novelty,
            batch.prompt_tokens,
            _slices(batch.expected, 4 * PARTS * len(names)),
            batch.rankings,
            _slices(batch.embedding, 2 * batch.width) if batch.width else [None] * len(ids),
            batch.prompts or [None] * len(ids),
            exclusions,
            strict=True,
        )
        try:
            self.decisions += list(rows)
            self.bundles[bundle] = (bundle, *batch.bundle)
            self.candidate_sets[chosen_from] = (chosen_from, _json(names), _json(models))
        except ValueError:
            raise Unreadable("decisions whose columns differ in length") from None


def outcome_row(outcome: Outcome) -> Row:
    """An outcome in the order of schema.OUTCOMES."""
    return (
        bytes.fromhex(outcome.decision_id),
        outcome.key,
        outcome.source,
        outcome.rank,
        outcome.received,
        outcome.observed,
        outcome.model,
        outcome.shadow,
        outcome.quality,
        outcome.latency_ms,
        outcome.ttft_ms,
        outcome.input_tokens,
        outcome.output_tokens,
        outcome.cached_tokens,
        outcome.cost_usd,
        outcome.error,
        _json(outcome.labels) if outcome.labels else None,
    )


def identity(value: Any) -> int:
    """A number for a value: the same in every sidecar, so that none must ask a store for it."""
    digest = hashlib.blake2b(msgspec.msgpack.encode(value), digest_size=8).digest()
    return int.from_bytes(digest) >> 1  # 63 bits: the stores' integers have a sign


def decided_at(decision_id: bytes) -> float:
    """Unix seconds at which a decision was made, from its id."""
    return int.from_bytes(decision_id[:6]) / 1000


def first_id(unix_seconds: float) -> bytes:
    """The least id that a decision of this time or later can have."""
    milliseconds = min(max(0, round(unix_seconds * 1000)), (1 << 48) - 1)
    return milliseconds.to_bytes(6) + bytes(ID_BYTES - 6)


def _slices(data: bytes, width: int) -> Iterator[bytes]:
    if width and len(data) % width:
        raise Unreadable("a column does not hold a whole number of rows")
    return (data[at : at + width] for at in range(0, len(data), width)) if width else iter(())


def _json(value: Sequence[str] | dict[str, str]) -> str:
    return msgspec.json.encode(value).decode()

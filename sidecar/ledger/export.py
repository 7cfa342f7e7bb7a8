"""The ledger as Parquet, a directory for each day, in the form that router-export trains on. Needs pyarrow."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from sidecar.ledger.history import Past, history
from sidecar.ledger.resolve import FIELDS
from sidecar.ledger.rows import first_id
from sidecar.ledger.store import Store, StoreError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise StoreError("ledger export: Parquet needs pyarrow; install 'router-sidecar[train]'.") from None

_QUALITY = "q:"
# Of one file.
MOST_ROWS = 1 << 18
_DAY = timedelta(days=1)
_STRINGS = pa.list_(pa.string())
_FLOATS = pa.list_(pa.float32())
Value = Callable[[Past], Any]
_OUTCOME_TYPES = {"error": pa.string(), **dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens"), pa.int64())}


class Exported(NamedTuple):
    """What was written.

    Attributes:
        rows: decisions.
        labelled: of these, with at least one known quality.
        files: how many.
        narrower: days that were exported before and have no column for a candidate that these have one for.
    """

    rows: int
    labelled: int
    files: int
    narrower: tuple[str, ...] = ()


def export(store: Store, directory: Path, since: date, until: date, *, training: bool = False) -> Exported:
    """Writes `day=YYYY-MM-DD/part-NNNN.parquet` for every day from `since` to before `until`; those days are replaced.

    Readers take the columns of one file for those of all. So days that are exported one by one get the same: there is one
    for each candidate, whether its quality is known or not (for training only the latter), and for those that have one in
    the directory already.

    Args:
        store: migrated.
        directory: made if need be.
        since: first day, UTC.
        until: the day behind the last, UTC.
        training: only decisions with a stored prompt and a known quality, which is what router-export takes.

    Raises:
        StoreError: for training, but no decision has both.
    """
    seen = _Seen()
    for page in history(store, _first(since), _first(until)):
        seen.add(page)
    if training and not seen.trainable:
        raise StoreError(
            "ledger export: no decision has both a stored prompt and a known quality; set ledger.store_prompts, and "
            "report outcomes with a quality."
        )
    others = _others(directory, {f"day={day}" for day in _days(since, until)})
    named = (seen.labelled if training else seen.candidates).union(*others.values())
    columns = _columns(sorted(named))
    rows = labelled = files = 0
    for day in _days(since, until):
        target, fresh = directory / f"day={day}", directory / f".day={day}"
        shutil.rmtree(fresh, ignore_errors=True)
        pages = history(store, _first(day), _first(day + _DAY))
        written = _write(fresh, columns, _wanted(pages, training=training))
        if target.exists():
            shutil.rmtree(target)
        if written.rows:
            fresh.rename(target)
        rows, labelled, files = rows + written.rows, labelled + written.labelled, files + written.files
    narrower = tuple(day for day, has in sorted(others.items()) if named - has) if files else ()
    return Exported(rows, labelled, files, narrower)


def _others(directory: Path, but: set[str]) -> dict[str, set[str]]:
    """Of each day that was exported before and stays as it is: the candidates with columns of their own."""
    first = {path.parent.name: path for path in sorted(directory.glob("day=*/*.parquet"), reverse=True)}
    return {
        day: {name.removeprefix(_QUALITY) for name in pq.read_schema(path).names if name.startswith(_QUALITY)}
        for day, path in first.items()
        if day not in but
    }


class _Seen:
    """What the columns depend on."""

    def __init__(self) -> None:
        self.trainable = False
        self.labelled: set[str] = set()
        self.candidates: set[str] = set()

    def add(self, page: Sequence[Past]) -> None:
        for past in page:
            known = _qualities(past)
            self.trainable |= bool(past.decision.prompt and known)
            self.labelled.update(known)
            self.candidates.update(past.decision.candidates)


def _qualities(past: Past) -> dict[str, float]:
    """Known qualities, by candidate; of other models nothing could be learned."""
    return {
        name: answer.quality
        for name, answer in past.answers.items()
        if answer.quality is not None and name in past.decision.candidates
    }


def _wanted(pages: Iterator[list[Past]], *, training: bool) -> Iterator[list[Past]]:
    for page in pages:
        yield [past for past in page if not training or (past.decision.prompt and _qualities(past))]


def _write(directory: Path, columns: dict[str, tuple[Any, Value]], pages: Iterator[list[Past]]) -> Exported:
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    rows = labelled = files = inside = 0
    writer: Any = None
    try:
        for page in filter(None, pages):
            if writer is None:
                directory.mkdir(parents=True, exist_ok=True)
                writer = pq.ParquetWriter(directory / f"part-{files:04d}.parquet", schema, compression="zstd")
                files, inside = files + 1, 0
            arrays = [pa.array([value(past) for past in page], kind) for kind, value in columns.values()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows, inside = rows + len(page), inside + len(page)
            labelled += sum(bool(_qualities(past)) for past in page)
            if inside >= MOST_ROWS:
                writer.close()
                writer = None
    finally:
        if writer is not None:
            writer.close()
    return Exported(rows, labelled, files)


def _columns(candidates: Sequence[str]) -> dict[str, tuple[Any, Value]]:
    """Every column: its type, and its value for a row."""
    parts = ("quality", "cost_usd", "seconds", "utility_usd")
    return {
        "decision_id": (pa.string(), lambda past: past.decision.decision_id.hex()),
        "decided_at": (pa.timestamp("us", "UTC"), lambda past: datetime.fromtimestamp(past.decision.decided_at, UTC)),
        "prompt": (pa.string(), lambda past: past.decision.prompt),
        **{
            name: (kind, _own(name))
            for name, kind in (
                ("segment", pa.string()),
                ("session_id", pa.string()),
                ("policy", pa.string()),
                ("answer_value_usd", pa.float64()),
                ("second_value_usd", pa.float64()),
                ("prompt_tokens", pa.int64()),
                ("novelty", pa.float32()),
                ("candidate", pa.string()),
                ("propensity", pa.float64()),
                ("applied", pa.bool_()),
                ("current_model", pa.string()),
            )
        },
        "reasons": (_STRINGS, lambda past: past.decision.reasons.split(",")),
        **{
            name: (pa.string(), _bundle(part))
            for part, name in enumerate(("bundle_name", "bundle_version", "bundle_digest"))
        },
        "candidates": (_STRINGS, lambda past: past.decision.candidates),
        "ranking": (_STRINGS, lambda past: [past.decision.candidates[index] for index in past.decision.admissible()]),
        "exclusions": (_STRINGS, _exclusions),
        **{f"expected_{name}": (_FLOATS, _expected(part)) for part, name in enumerate(parts)},
        "embedding": (_FLOATS, _embedding),
        "answered": (pa.string(), lambda past: past.served()[0] or None),
        "quality": (pa.float64(), _of_served("quality")),
        "quality_source": (pa.string(), _of_served("quality_source")),
        **{name: (_OUTCOME_TYPES.get(name, pa.float64()), _of_served(name)) for name in FIELDS},
        "labels": (pa.string(), _labels),
        **{f"{_QUALITY}{name}": (pa.float32(), _of(name, "quality")) for name in candidates},
        **{f"out_tokens:{name}": (pa.float32(), _of(name, "output_tokens")) for name in candidates},
    }


def _own(name: str) -> Value:
    return lambda past: getattr(past.decision, name)


def _bundle(part: int) -> Value:
    return lambda past: past.decision.bundle[part]


def _expected(part: int) -> Value:
    return lambda past: past.decision.expectations()[part]


def _of(name: str, field: str) -> Value:
    return lambda past: getattr(past.answers.get(name), field, None)


def _of_served(field: str) -> Value:
    return lambda past: getattr(past.served()[1], field, None)


def _embedding(past: Past) -> Any:
    stored = past.decision.embedding
    return None if stored is None else np.frombuffer(stored, "<f2").astype(np.float32)


def _exclusions(past: Past) -> list[str | None] | None:
    excluded = past.decision.excluded()
    return None if excluded is None else [None if each is None else each.name for each in excluded]


def _labels(past: Past) -> str | None:
    _, answer = past.served()
    return msgspec.json.encode(answer.labels).decode() if answer and answer.labels else None


def _days(since: date, until: date) -> Iterator[date]:
    while since < until:
        yield since
        since += _DAY


def _first(day: date) -> bytes:
    return first_id(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())

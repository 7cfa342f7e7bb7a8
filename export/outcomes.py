"""Outcomes: what became of prompts that several candidates answered, read from Parquet."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from export.errors import DataError
from sidecar.types import Floats

QUALITY = "q:"
OUT_TOKENS = "out_tokens:"
CHARS_PER_TOKEN = 4.0
# A candidate with fewer labels than this teaches nothing that would hold.
MIN_LABELS = 20

Strings = NDArray[np.str_]
Rows = NDArray[np.int64] | NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """N prompts and what C candidates made of them.

    Attributes:
        prompts: [N] as the user sent them.
        candidates: [C] names, in the order of the columns.
        quality: [N, C] in [0, 1]; NaN where the candidate was not run.
        output_tokens: [N, C] tokens of the answer; NaN where unknown.
        prompt_tokens: [N].
        segments: [N]; all empty if the data has none.
        sources: [N] finer origin within the segment; all empty if the data has none.
        groups: [N] numbers; prompts of one group are nearly the same question and never lie on both sides of a split.
        contaminated: [N] rows that the data's own source flags as seen in training by an LLM.
        sha256: of the file.
    """

    prompts: tuple[str, ...]
    candidates: tuple[str, ...]
    quality: Floats
    output_tokens: Floats
    prompt_tokens: Floats
    segments: Strings
    sources: Strings
    groups: NDArray[np.int64]
    contaminated: NDArray[np.bool_]
    sha256: str

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Rows) -> "Outcomes":
        """The outcomes of some rows, given by mask or index."""
        index = np.arange(len(self))[rows]
        return Outcomes(
            tuple(self.prompts[i] for i in index),
            self.candidates,
            self.quality[index],
            self.output_tokens[index],
            self.prompt_tokens[index],
            self.segments[index],
            self.sources[index],
            self.groups[index],
            self.contaminated[index],
            self.sha256,
        )

    def joined(self, other: "Outcomes") -> "Outcomes":
        """These and those of another file with the same candidates.

        Raises:
            DataError: the candidates differ.
        """
        if self.candidates != other.candidates:
            raise DataError(
                f"the files hold different candidates ({', '.join(self.candidates)} and {', '.join(other.candidates)}); "
                "name those of both with --candidates."
            )
        return Outcomes(
            self.prompts + other.prompts,
            self.candidates,
            np.concatenate([self.quality, other.quality]),
            np.concatenate([self.output_tokens, other.output_tokens]),
            np.concatenate([self.prompt_tokens, other.prompt_tokens]),
            np.concatenate([self.segments, other.segments]),
            np.concatenate([self.sources, other.sources]),
            np.concatenate([self.groups, other.groups]),
            np.concatenate([self.contaminated, other.contaminated]),
            hashlib.sha256((self.sha256 + other.sha256).encode()).hexdigest(),
        )

    def segment_names(self) -> list[str]:
        """Names of the segments, sorted."""
        return sorted({str(name) for name in self.segments})


def read_outcomes(path: Path, candidates: Sequence[str] = ()) -> Outcomes:
    """Reads and checks a Parquet file; export/README.md describes its columns. Rows without any label are left out.

    Args:
        path: of the file.
        candidates: columns to read, in this order; all that the file has if empty.

    Raises:
        DataError: the message names the file, the column and the remedy.
    """
    content, table = _read(path)
    names = table.schema.names
    chosen = _chosen(path, [name.removeprefix(QUALITY) for name in names if name.startswith(QUALITY)], candidates)
    quality = np.stack([_quality(path, table, name) for name in chosen], axis=1)
    prompts = _prompts(path, table)
    tokens = np.stack([_counts(path, table, OUT_TOKENS + name) for name in chosen], axis=1)
    sent = _counts(path, table, "prompt_tokens")
    estimated = np.array([len(prompt) / CHARS_PER_TOKEN + 1 for prompt in prompts], np.float32)
    outcomes = Outcomes(
        prompts,
        chosen,
        quality,
        tokens,
        np.where(np.isnan(sent), estimated, sent),
        _strings(path, table, "segment"),
        _strings(path, table, "source"),
        _groups(path, table, prompts),
        _flags(table, "contaminated"),
        hashlib.sha256(content).hexdigest(),
    )
    return outcomes.take(np.flatnonzero((~np.isnan(quality)).any(axis=1)))


def read_prompts(path: Path) -> tuple[str, ...]:
    """The prompts of a Parquet file, of which nothing else need be known.

    Raises:
        DataError: as read_outcomes.
    """
    _, table = _read(path)
    return _prompts(path, table)


def _read(path: Path) -> tuple[bytes, Any]:
    try:
        content = path.read_bytes()
        table = pq.read_table(pa.BufferReader(content))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or 'not a Parquet file'}.") from None
    except pa.ArrowInvalid:
        raise DataError(f"{path}: is not a Parquet file; write one, for example with pyarrow or pandas.") from None
    names = table.schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column `{twice[0]}` stands there twice; keep one.")
    if "prompt" not in names:
        raise DataError(f"{path}: column `prompt` is missing; it holds the text that the user sent.")
    if table.num_rows == 0:
        raise DataError(f"{path}: holds no rows.")
    return content, table


def _chosen(path: Path, present: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    if not present:
        raise DataError(
            f"{path}: no column `{QUALITY}NAME` with a candidate's quality; there must be one per candidate."
        )
    if not wanted:
        return tuple(present)
    for name in wanted:
        if name not in present:
            raise DataError(
                f"{path}: candidate {name!r} has no column `{QUALITY}{name}`; the file has {', '.join(present)}."
            )
    if len(set(wanted)) != len(wanted):
        raise DataError("--candidates: a name stands there twice; name each once.")
    return tuple(wanted)


def _quality(path: Path, table: Any, name: str) -> Floats:
    column = table.column(QUALITY + name)
    values = _numbers(path, column, QUALITY + name)
    # Parquet can hold both null (not run) and NaN (a broken label); only the first has a meaning here.
    if np.isnan(values[np.asarray(column.is_valid())]).any():
        raise DataError(f"{path}: column `{QUALITY}{name}` holds NaN; write null where the candidate was not run.")
    known = values[~np.isnan(values)]
    if not known.size:
        raise DataError(f"{path}: column `{QUALITY}{name}` has no label at all; leave this candidate out.")
    if known.min() < 0.0 or known.max() > 1.0:
        raise DataError(f"{path}: column `{QUALITY}{name}` has values outside [0, 1]; rescale them.")
    return values


def _counts(path: Path, table: Any, column: str) -> Floats:
    if column not in table.schema.names:
        return np.full(table.num_rows, np.nan, np.float32)
    values = _numbers(path, table.column(column), column)
    if (values[~np.isnan(values)] < 0.0).any() or np.isinf(values).any():
        raise DataError(f"{path}: column `{column}` has a negative or infinite count.")
    return values


def _numbers(path: Path, column: Any, name: str) -> Floats:
    try:
        values: Floats = np.asarray(column.cast(pa.float32(), safe=False).to_numpy(), np.float32)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{path}: column `{name}` holds {column.type}; it must hold numbers.") from None
    return values


def _prompts(path: Path, table: Any) -> tuple[str, ...]:
    column = table.column("prompt")
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DataError(f"{path}: column `prompt` holds {column.type}; it must hold text.")
    prompts = tuple(text or "" for text in column.to_pylist())
    blank = next((row for row, text in enumerate(prompts) if not text.strip()), None)
    if blank is not None:
        raise DataError(f"{path}: column `prompt` is blank in row {blank}; drop that row.")
    return prompts


def _strings(path: Path, table: Any, name: str) -> Strings:
    if name not in table.schema.names:
        return np.full(table.num_rows, "", np.str_)
    try:
        values = table.column(name).cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{path}: column `{name}` holds {table.column(name).type}; it must hold text.") from None
    return np.array([value or "" for value in values], np.str_)


def _flags(table: Any, name: str) -> NDArray[np.bool_]:
    if name not in table.schema.names:
        return np.zeros(table.num_rows, np.bool_)
    return np.array([bool(value) for value in table.column(name).to_pylist()], np.bool_)


def _groups(path: Path, table: Any, prompts: Sequence[str]) -> NDArray[np.int64]:
    """Groups as hashes of their names, so that they agree between files."""
    given = _strings(path, table, "group_id")
    keys = (name or " ".join(prompt.lower().split()) for name, prompt in zip(given, prompts, strict=True))
    return np.array([int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest()) for key in keys], np.int64)

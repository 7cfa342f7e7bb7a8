"""Reads when real requests came: a table with a column `arrival_s`, as Parquet or CSV."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.schedule import Seconds

ARRIVAL, TRACE = "arrival_s", "trace"


class TraceError(ValueError):
    """A trace cannot be used; the message names the file, the column and the remedy."""


def read(path: Path, trace: str = "", window: tuple[float, float] | None = None, speed_up: float = 1.0) -> Seconds:
    """Arrivals of one trace, beginning at 0.

    Args:
        path: `.parquet` or `.csv`.
        trace: which one, where the file has a column `trace`; may be left out if it holds only one.
        window: seconds of the trace, from and to; the whole trace if left out.
        speed_up: 10 makes ten seconds of the trace pass in one.

    Raises:
        TraceError: there is no such file, column, trace, or no request in the window; or speed_up is not positive.
    """
    if not speed_up > 0:
        raise TraceError(f"speed-up: {speed_up:g} is not positive.")
    if not path.is_file():
        raise TraceError(f"{path}: no such file.")
    columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    if ARRIVAL not in columns:
        raise TraceError(f"{path}: there is no column {ARRIVAL!r}; the columns are {', '.join(sorted(columns))}.")
    try:
        arrivals = np.asarray(columns[ARRIVAL], dtype=np.float64)
    except ValueError:
        raise TraceError(f"{path}: column {ARRIVAL!r} holds something that is no number of seconds.") from None
    arrivals = arrivals[_chosen(path, columns.get(TRACE), trace, len(arrivals))]
    if not np.isfinite(arrivals).all():
        raise TraceError(f"{path}: column {ARRIVAL!r} holds a value that is missing or not finite.")
    arrivals = np.sort(arrivals)
    if window is not None:
        start, stop = window
        arrivals = arrivals[(arrivals >= start) & (arrivals < stop)] - start
    elif len(arrivals):
        arrivals = arrivals - arrivals[0]
    if not len(arrivals):
        raise TraceError(f"{path}: no request lies in the window.")
    return arrivals / speed_up


def _chosen(path: Path, names: list[str] | None, trace: str, rows: int) -> NDArray[np.bool_]:
    if names is None:
        if trace:
            raise TraceError(f"{path}: there is no column {TRACE!r} to find {trace!r} in.")
        return np.ones(rows, dtype=bool)
    known = sorted(set(names))
    if not trace and len(known) == 1:
        trace = known[0]
    if trace not in known:
        raise TraceError(f"{path}: name one of the traces {', '.join(known)}.")
    return np.array([name == trace for name in names], dtype=np.bool_)


def _csv(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _parquet(path: Path) -> dict[str, list[str]]:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - only who has Parquet needs it
    except ImportError:
        raise TraceError(f"{path}: reading Parquet needs pyarrow; install it, or give a CSV file.") from None
    table = pyarrow.parquet.read_table(path)
    wanted = [name for name in (ARRIVAL, TRACE) if name in table.column_names]
    columns = {name: table[name].to_pylist() for name in wanted}
    return {**{name: [] for name in table.column_names if name not in wanted}, **columns}

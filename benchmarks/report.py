"""Tables for readers, JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.samples import Row

# What the columns are called in tables; rows may hold more, which only JSON shows.
HEADS = {
    "subject": "subject",
    "in_flight": "in flight",
    "chars": "chars",
    "rate": "req/s wanted",
    "offered_per_second": "offered",
    "per_second": "req/s",
    "p50_us": "p50 us",
    "p90_us": "p90",
    "p99_us": "p99",
    "p99.9_us": "p99.9",
    "lag_p99_us": "generator lag p99",
    "errors": "errors",
    "degraded_share": "degraded",
    "cached_share": "cache hits",
    "goodput_per_second": "goodput",
    "sent_p50_us": "p50 us (sent)",
    "sent_p99_us": "p99 (sent)",
    "due_p50_us": "p50 (due)",
    "due_p99_us": "p99 (due)",
    "recovery_us": "recovery us",
    "mean_batch": "mean batch",
    "server_cpu": "server cpu",
}


@dataclass
class Section:
    """One question and its answer.

    Attributes:
        name: short; the key in JSON.
        title: the question, for the reader.
        columns: of the rows, in the order of the table.
        rows: the figures.
        notes: what the reader must know beside them.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def cell(value: Any) -> str:
    """A value as it stands in a table: about four figures, a dash where there is none."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "0"
    if isinstance(value, float):
        size = abs(value)
        return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"  # noqa: PLR2004
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(section: Section) -> str:
    """The section as text: title, aligned columns, notes."""
    heads = [HEADS.get(column, column.removesuffix("_us").replace("_", " ")) for column in section.columns]
    body = [[cell(row.get(column)) for column in section.columns] for row in section.rows]
    widths = [max(len(line[index]) for line in [heads, *body]) for index in range(len(heads))]
    left = {index for index, column in enumerate(section.columns) if column in ("subject", "errors", "verdict")}
    lines = [
        "  ".join(
            text.ljust(width) if index in left else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [heads, ["-" * width for width in widths], *body]
    ]
    return "\n".join(["", section.title, *lines, *(f"  * {note}" for note in section.notes)])


def document(machine: dict[str, Any], sections: Sequence[Section]) -> dict[str, Any]:
    """All that was measured, for json.dumps."""
    return {
        "machine": machine,
        "sections": {
            section.name: {"title": section.title, "rows": section.rows, "notes": section.notes} for section in sections
        },
    }


def write_json(path: Path, machine: dict[str, Any], sections: Sequence[Section]) -> None:
    """Writes the document."""
    path.write_text(json.dumps(document(machine, sections), indent=2) + "\n", encoding="utf-8")

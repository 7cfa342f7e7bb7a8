"""The same figures as pictures: latency and throughput over load, stages over prompt size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.stages import STAGES

MILLISECOND_US = 1000.0
COLOURS = {"Route": "tab:blue", "empty handler, http2": "tab:green", "empty handler, grpcio": "tab:orange"}
SHADES = {
    "p50_us": ("tab:blue", "latency p50"),
    "p99_us": ("tab:purple", "latency p99"),
    "p99.9_us": ("tab:red", "latency p99.9"),
    "queueing_p99_us": ("tab:gray", "queueing p99, from outside"),
    "queue_p99_us": ("tab:green", "queueing p99, in the server"),
    "lag_p99_us": ("tab:olive", "generator's lag p99"),
}


def draw(path: Path, sections: Sequence[Section], caption: str) -> None:
    """Writes a PNG with a panel for each question that was measured.

    Raises:
        ValueError: nothing that was measured can be drawn.
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - after the backend is set

    known = {section.name: section for section in sections if section.rows}
    panels = [(name, painter) for name, painter in _PAINTERS if name in known]
    if not panels:
        raise ValueError(f"nothing to plot: run one of {', '.join(dict.fromkeys(name for name, _ in _PAINTERS))}.")
    columns = min(2, len(panels))
    height = -(-len(panels) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(7.5 * columns, 4.6 * height), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (name, painter) in zip(axes.flat, panels, strict=False):
        painter(axis, known[name])
        axis.grid(visible=True, which="major", alpha=0.35)
    figure.suptitle(caption, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _series(rows: Sequence[Row], x: str, y: str) -> tuple[list[float], list[float]]:
    points = [(row.get(x), row.get(y)) for row in rows]
    kept = [(a, b) for a, b in points if isinstance(a, (int, float)) and isinstance(b, (int, float)) and b > 0]
    kept.sort()
    return [float(a) for a, _ in kept], [float(b) for _, b in kept]


def _subjects(section: Section) -> list[str]:
    return list(dict.fromkeys(str(row["subject"]) for row in section.rows))


def _ticks(axis: Any, values: Sequence[float]) -> None:
    axis.set_xticks(values, [f"{value:,.0f}" for value in values])
    axis.minorticks_off()


def _latency(axis: Any, section: Section) -> None:
    for subject in _subjects(section):
        rows = [row for row in section.rows if row["subject"] == subject]
        for column, style in (("p50_us", "-o"), ("p99_us", "--^")):
            x, y = _series(rows, "in_flight", column)
            label = f"{subject}, {column.removesuffix('_us')}"
            axis.loglog(x, y, style, color=COLOURS.get(subject), label=label, markersize=4)
    _ticks(axis, sorted({float(row["in_flight"]) for row in section.rows}))
    axis.set(xlabel="calls in flight", ylabel="latency, microseconds", title="Closed loop: latency")
    axis.legend(fontsize=7)


def _throughput(axis: Any, section: Section) -> None:
    for subject in _subjects(section):
        rows = [row for row in section.rows if row["subject"] == subject]
        axis.plot(
            *_series(rows, "in_flight", "per_second"), "-o", color=COLOURS.get(subject), label=subject, markersize=4
        )
    axis.set_xscale("log")
    _ticks(axis, sorted({float(row["in_flight"]) for row in section.rows}))
    axis.set_ylim(bottom=0)
    axis.set(xlabel="calls in flight", ylabel="replies per second, one core", title="Closed loop: throughput")
    axis.legend(fontsize=7)


def _arrivals(axis: Any, section: Section) -> None:
    rows = [row for row in section.rows if row.get("rate") is not None]
    for column, (colour, label) in SHADES.items():
        style = "-o" if label.startswith("latency") else ":s"
        axis.loglog(*_series(rows, "rate", column), style, color=colour, label=label, markersize=4)
    axis.axhline(MILLISECOND_US, color="black", linewidth=0.8, linestyle="-.", label="1 ms")
    axis.set(
        xlabel="requests per second, Poisson", ylabel="latency from due time, microseconds", title="Open loop: latency"
    )
    axis.set_ylim(top=axis.get_ylim()[1] * 8)  # room for the legend
    axis.legend(fontsize=7, ncols=2, loc="upper center")


def _sizes(axis: Any, section: Section) -> None:
    rows = [row for row in section.rows if row["subject"] == "text"]
    axis.loglog(*_series(rows, "chars", "p50_us"), "-o", color="black", label="at the client, p50", markersize=4)
    for stage in STAGES:
        x, y = _series(rows, "chars", f"{stage}_p50_us")
        axis.loglog(x, y, "-" if stage == "total" else "--", marker=".", label=f"server: {stage}", alpha=0.85)
    axis.set(xlabel="characters of the prompt", ylabel="microseconds", title="Prompt size, 1 in flight")
    axis.legend(fontsize=7)


_PAINTERS = (
    ("closed_loop", _latency),
    ("closed_loop", _throughput),
    ("open_loop", _arrivals),
    ("sizes", _sizes),
)

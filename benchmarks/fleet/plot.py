"""Quality, cost and the time to an answer over the offered load, a line for each policy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.samples import Row

STYLES = {
    "load-blind": ("tab:red", "o", "-"),
    "round robin": ("tab:gray", "s", "--"),
    "least in flight": ("tab:orange", "^", "--"),
    "ours": ("tab:blue", "D", "-"),
}
PANELS = (
    ("quality", "mean quality of the answers", "linear"),
    ("usd_per_1k", "USD per 1,000 requests", "linear"),
    ("p95_s", "p95 time to the answer, s (log)", "log"),
)


def series(rows: Sequence[Row], subject: str, column: str) -> tuple[list[float], list[float]]:
    """One policy's line: offered loads, ascending, and the figures there; loads without a figure are left out."""
    points = sorted((row["load"], row[column]) for row in rows if row["subject"] == subject and row[column] is not None)
    return [load for load, _ in points], [value for _, value in points]


def draw(path: Path, rows: Sequence[Row], title: str, caption: str) -> None:
    """Writes a PNG.

    Args:
        path: of the picture.
        rows: of a sweep.
        title: what was offered.
        caption: machine and date.

    Raises:
        ValueError: there are no rows.
        ModuleNotFoundError: matplotlib is not installed.
    """
    if not rows:
        raise ValueError("nothing to plot: the sweep was not run.")
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - after the backend is set

    figure, axes = plt.subplots(1, len(PANELS), figsize=(15, 4.8))
    for axis, (column, label, scale) in zip(axes, PANELS, strict=True):
        _panel(axis, rows, column, label, scale)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=9)
    figure.suptitle(f"{title}\n{caption}", fontsize=9)
    figure.tight_layout(rect=(0, 0.07, 1, 0.98))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axis: Any, rows: Sequence[Row], column: str, label: str, scale: str) -> None:
    for subject in dict.fromkeys(str(row["subject"]) for row in rows):
        colour, marker, line = STYLES.get(subject, ("black", ".", ":"))
        axis.plot(*series(rows, subject, column), line, color=colour, marker=marker, markersize=4, label=subject)
    axis.axvline(1.0, color="black", linewidth=0.8, linestyle="-.", label="load-blind's favourite is saturated")
    axis.set_yscale(scale)
    if scale == "linear" and column != "quality":
        axis.set_ylim(bottom=0)
    axis.set(xlabel="offered load / load that saturates load-blind's favourite", ylabel=label)
    axis.grid(visible=True, which="both" if scale == "log" else "major", alpha=0.3)

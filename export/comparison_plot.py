"""The cost-quality curves of several bundles in one picture."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from export.plot import draw_best_line, draw_singles, dress, frontier

# Told apart also by who does not see red and green alike (Okabe, Ito, Color Universal Design, 2008), and by their dashes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (8, 2, 2, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)))


def draw(record: dict[str, Any], path: Path, title: str) -> None:
    """Writes a PNG: a curve for each bundle, and the candidates alone.

    Args:
        record: what `router-export compare --json` prints.
        path: of the PNG.
        title: of the picture.
    """
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.5, 6.0), dpi=130, layout="constrained")
        axes = figure.add_subplot()
        draw_singles(axes, record)
        for number, bundle in enumerate(record["bundles"]):
            costs, qualities = frontier(bundle["curve"])
            style = {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _DASHES[number % len(_DASHES)]}
            axes.plot(costs, qualities, linewidth=2.4, label=bundle["label"], zorder=4, **style)
        draw_best_line(axes, record["best_single"]["quality"])
        dress(axes, title)
        figure.savefig(path)

"""The cost-quality picture of an evaluation."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

_INK, _SOFT, _ROUTER, _BEST = "#22303c", "#8a97a3", "#0b6e99", "#c2410c"
_Box = tuple[float, float, float, float]
_Place = tuple[float, float, str]
# Offsets of a label from its point, in points, in the order of preference; and the size of a character.
_PLACES: tuple[_Place, ...] = (
    (7.0, -3.0, "left"),
    (-7.0, -3.0, "right"),
    (0.0, 7.0, "center"),
    (0.0, -13.0, "center"),
    (7.0, 6.0, "left"),
    (7.0, -13.0, "left"),
    (-7.0, 6.0, "right"),
    (-7.0, -13.0, "right"),
)
_CHARACTER, _LINE = 4.5, 9.0
_CURVES = {"subject_table": ("best per segment", "#7c8f3a", "--"), "knn": ("nearest neighbours", "#9c6ade", ":")}


def draw(record: dict[str, Any], path: Path, title: str) -> None:
    """Writes a PNG: the router's curve, the candidates alone, and the baselines, cost on a log axis.

    Args:
        record: what export.evaluate.evaluate returns.
        path: of the PNG.
        title: of the picture.
    """
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.5, 6.0), dpi=130, layout="constrained")
        axes = figure.add_subplot()
        draw_singles(axes, record)
        for name, (label, colour, style) in _CURVES.items():
            if name in record["baselines"]:
                costs, qualities = frontier(record["baselines"][name]["curve"])
                axes.plot(costs, qualities, style, color=colour, linewidth=1.6, label=label, zorder=3)
        costs, qualities = frontier(record["curve"])
        axes.plot(costs, qualities, color=_ROUTER, linewidth=2.6, label="this router", zorder=4)
        chance = record["baselines"]["random"]
        axes.plot(chance["cost_usd_per_1k"], chance["quality"], "x", color=_SOFT, label="random candidate", zorder=3)
        draw_best_line(axes, record["best_single"]["quality"])
        dress(axes, title)
        ratio = record["cost_ratio_at_best_single_quality"]
        if ratio is not None:
            note = f"the best single candidate's quality at {ratio:.0%} of its cost"
            axes.text(0.0, -0.13, note, transform=axes.transAxes, color=_SOFT, fontsize=9)
        figure.savefig(path)


def draw_best_line(axes: Any, quality: float) -> None:
    """Draws the best single candidate's quality across the picture."""
    axes.axhline(quality, color=_BEST, linewidth=0.8, linestyle=(0, (4, 4)), zorder=1)
    axes.annotate(
        f"best single candidate {quality:.3f}",
        (0.0, quality),
        (4, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left",
        color=_BEST,
        fontsize=9,
    )


def draw_singles(axes: Any, record: dict[str, Any]) -> None:
    """Draws the candidates alone, with their names where these cover nothing, on a log axis of cost."""
    best = record["best_single"]["name"]
    points = [(single["cost_usd_per_1k"], single["quality"]) for single in record["singles"]]
    names = [single["name"] for single in record["singles"]]
    colours = [_BEST if name == best else _INK for name in names]
    for point, colour in zip(points, colours, strict=True):
        axes.plot(*point, "o", color=colour, markersize=5, zorder=5)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low * 0.7, high * 1.6)
    spots = [tuple(axes.transData.transform(point)) for point in points]
    places = _places(spots, names, axes.figure.dpi / 72.0, axes.get_window_extent().x0)
    for name, point, colour, (dx, dy, align) in zip(names, points, colours, places, strict=True):
        label = axes.annotate(
            name, point, (dx, dy), textcoords="offset points", ha=align, fontsize=8, color=colour, zorder=6
        )
        label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _places(spots: list[tuple[float, float]], names: list[str], scale: float, edge: float) -> list[_Place]:
    """For each label the first place about its point where it covers no point and no label before it."""
    taken = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in spots]
    places: list[_Place] = []
    for (x, y), name in zip(spots, names, strict=True):
        width, height = len(name) * _CHARACTER * scale, _LINE * scale
        boxes = []
        for dx, dy, align in _PLACES:
            left = x + dx * scale - {"left": 0.0, "right": width, "center": width / 2}[align]
            bottom = y + (dy - 2) * scale
            boxes.append((left, bottom, left + width, bottom + height))
        free = [box[0] > edge and not any(_overlap(box, other) for other in taken) for box in boxes]
        place = free.index(True) if any(free) else 0
        taken.append(boxes[place])
        places.append(_PLACES[place])
    return places


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def frontier(points: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    """The points of a curve in the order of the answer's worth, but without those that a cheaper one outdoes."""
    kept: list[dict[str, float]] = []
    for point in sorted(points, key=lambda p: (p["cost_usd_per_1k"], -p["quality"])):
        if not kept or point["quality"] > kept[-1]["quality"]:
            kept.append(point)
    return [p["cost_usd_per_1k"] for p in kept], [p["quality"] for p in kept]


def dress(axes: Any, title: str) -> None:
    """Names the axes and the picture, and sets the legend."""
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(LogLocator(subs="all"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("cost per 1,000 calls")
    axes.set_ylabel("mean quality")
    axes.set_title(title, loc="left", fontweight="bold", color=_INK)
    axes.grid(color="#e5eaee", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False)

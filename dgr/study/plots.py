"""Plots as SVG, for pages, and PNG, for everything else. Equal plots give equal bytes."""

import io
import math
from pathlib import Path
from typing import Any

from dgr.errors import MissingExtra
from dgr.files import write_bytes
from dgr.study.findings import Plot, Series

COLOURS = ("#1f5fbf", "#b4540a", "#17703f", "#8a3ea8", "#58616b", "#a8261c", "#007a87", "#c2185b")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, SOFT, LINE = "#16191d", "#58616b", "#dfe3e8"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "dgr",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": LINE,
    "legend.frameon": False,
}

SAVED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("svg", {"metadata": {"Date": None}}),
    ("png", {"dpi": 144}),
)


def draw(plot: Plot, folder: Path) -> None:
    """Write `<name>.svg` and `<name>.png` into the folder."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "study") from None
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for number, series in enumerate(plot.series):
            _series(axes, plot, series, number)
        _axes(axes, plot)
        for kind, options in SAVED:
            data = io.BytesIO()
            figure.savefig(data, format=kind, **options)
            write_bytes(folder / f"{plot.name}.{kind}", data.getvalue())


def _series(axes: Any, plot: Plot, series: Series, number: int) -> None:
    found = [point for point in series.points if math.isfinite(point.y)]
    if series.line:
        found.sort(key=lambda point: point.x)
    # Side by side where the places are names; intervals would hide each other.
    count = len(plot.series)
    aside = 0.6 * (number - (count - 1) / 2) / count if plot.categories else 0.0
    x, y = [point.x + aside for point in found], [point.y for point in found]
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(
        x,
        y,
        linestyle="-" if series.line else "none",
        marker=MARKS[number % len(MARKS)],
        color=colour,
        markersize=5,
        label=series.name,
    )
    barred = [
        (place, point) for place, point in zip(x, found, strict=True) if math.isfinite(point.low)
    ]
    for place, point in barred:
        axes.plot([place, place], [point.low, point.high], color=colour, linewidth=1.2, alpha=0.7)


def _axes(axes: Any, plot: Plot) -> None:
    axes.set_title(plot.title)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.grid(axis="y")
    if plot.limit is not None:
        axes.axhline(plot.limit, color=SOFT, linewidth=1, linestyle="--")
    if plot.log:
        axes.set_xscale("log")
        ticks = sorted({point.x for series in plot.series for point in series.points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    if plot.categories:
        wide = len(plot.categories) * max(map(len, plot.categories)) > 70
        turned = {"rotation": 30, "ha": "right"} if wide else {}
        axes.set_xticks(range(len(plot.categories)), plot.categories, **turned)
        axes.set_xlim(-0.6, len(plot.categories) - 0.4)
    if plot.series:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

"""Geometry of the plots. The template draws; positions are per cent of the plot's width."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dgr.metrics import Metric
from dgr.report.table import cell, unit
from dgr.stats import Estimate

Span = tuple[float, float]
"""Lower and upper end of an axis."""


@dataclass(frozen=True)
class Mark:
    """One line of a panel: a dot at `x` and a whisker from `low` to `high`, in per cent."""

    label: str
    text: str
    x: float | None = None
    low: float = 0.0
    high: float = 0.0
    n: int = 0
    strong: bool = False


@dataclass(frozen=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True)
class Panel:
    """A dot-and-whisker plot: one mark a line on one axis."""

    title: str
    note: str
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    limit: float | None = None
    """Where the gate's limit lies, in per cent."""

    @property
    def described(self) -> str:
        """The plot in words, for those who cannot see it."""
        parts = "; ".join(f"{mark.label}: {mark.text}" for mark in self.marks)
        return f"{self.title}. {parts}."


def metric_panel(
    metric: Metric, figures: Mapping[str, Estimate | None], strong: str, limit: float | None
) -> Panel:
    """A metric's figure for each arm. Shares lie on the whole axis, so that panels compare."""
    known = [figure for figure in figures.values() if figure is not None and figure.known]
    ends = [0.0, *(end for figure in known for end in (figure.low, figure.high))]
    if limit is not None:
        ends.append(limit)
    span = (0.0, 1.0) if metric.unit == "share" else nice_span(min(ends), max(ends))
    direction = f", {metric.better} is better" if metric.better else ""
    scale = 1 if metric.unit == "tokens" else 100
    return panel(
        metric.label,
        unit(metric) + direction,
        figures,
        span,
        show_tick=lambda value: f"{scale * value:g}",
        show=lambda figure: cell(metric, figure),
        strong=strong,
        limit=limit,
    )


def value_panel(
    title: str, note: str, figures: Mapping[str, Estimate], strong: str = "", digits: int = 2
) -> Panel:
    """Figures in a unit of their own, zero on the axis."""
    known = [figure for figure in figures.values() if figure.known]
    ends = [0.0, *(end for figure in known for end in (figure.low, figure.high))]

    def show(figure: Estimate) -> str:
        values = (figure.value, figure.low, figure.high)
        return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*values, d=digits)

    span = nice_span(min(ends), max(ends))
    return panel(title, note, figures, span, show_tick="{:g}".format, show=show, strong=strong)


def panel(
    title: str,
    note: str,
    figures: Mapping[str, Estimate | None],
    span: Span,
    *,
    show_tick: Callable[[float], str],
    show: Callable[[Estimate], str],
    strong: str = "",
    limit: float | None = None,
) -> Panel:
    def mark(label: str, figure: Estimate | None) -> Mark:
        if figure is None or not figure.known:
            return Mark(label, "no figure", strong=label == strong)
        x, low, high = (position(value, span) for value in (figure.value, figure.low, figure.high))
        return Mark(label, show(figure), x, low, high, figure.n, strong=label == strong)

    ticks = tuple(Tick(position(value, span), show_tick(value)) for value in tick_values(span))
    marks = tuple(mark(label, figure) for label, figure in figures.items())
    return Panel(title, note, marks, ticks, None if limit is None else position(limit, span))


def position(value: float, span: Span) -> float:
    """Where a value lies on the axis, in per cent, kept inside."""
    low, high = span
    return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 3)


def nice_span(low: float, high: float) -> Span:
    """The range widened to whole steps of a readable size."""
    if high <= low:
        return (low, low + 1.0)
    step = _step(high - low)
    return (math.floor(low / step) * step, math.ceil(high / step) * step)


def tick_values(span: Span) -> list[float]:
    """Three to six readable values."""
    low, high = span
    step = _step(high - low)
    count = round((high - low) / step)
    return [round(low + index * step, 10) for index in range(count + 1)]


def _step(width: float) -> float:
    """1, 2 or 5 times a power of ten, so that two to five steps cover the width."""
    power = 10.0 ** math.floor(math.log10(width))
    for factor in (0.2, 0.5, 1.0, 2.0):
        if width / (factor * power) <= 5.000001:
            return factor * power
    return 5.0 * power


@dataclass(frozen=True)
class Curve:
    """A line over steps, in a box of 100 by 100 whose y axis points down."""

    label: str
    points: str
    number: int
    """Chooses the line's colour and dashes."""
    last: str


@dataclass(frozen=True)
class CurvePlot:
    """Curves on common axes."""

    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


POINTS = 200
"""Points of one curve at most; more are averaged in blocks."""


def curve_plot(series: Mapping[str, Sequence[float]]) -> CurvePlot | None:
    """Curves of one value a step (steps count from 1); None when there is nothing to draw."""
    finite = {
        name: [value for value in values if math.isfinite(value)] for name, values in series.items()
    }
    drawn = {name: values for name, values in finite.items() if values}
    if not drawn:
        return None
    x_span = nice_span(0.0, float(max(map(len, drawn.values()))))
    y_span = nice_span(0.0, max(max(values) for values in drawn.values()))
    curves = tuple(
        Curve(name, _points(values, x_span, y_span), number, f"{values[-1]:.3f}")
        for number, (name, values) in enumerate(drawn.items())
    )
    return CurvePlot(
        curves,
        tuple(Tick(position(value, x_span), f"{value:g}") for value in tick_values(x_span)),
        tuple(Tick(100 - position(value, y_span), f"{value:g}") for value in tick_values(y_span)),
    )


def _points(values: Sequence[float], x_span: Span, y_span: Span) -> str:
    size = math.ceil(len(values) / POINTS)
    points = []
    for start in range(0, len(values), size):
        block = values[start : start + size]
        middle = start + (len(block) + 1) / 2
        height = 100 - position(sum(block) / len(block), y_span)
        points.append(f"{position(middle, x_span):.2f},{height:.2f}")
    return " ".join(points)

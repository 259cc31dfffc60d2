"""What a study comes to: verdicts on claims, tables, plots, and a paragraph, all from the cells."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from dgr.metrics import describe
from dgr.records import Record
from dgr.report.table import HEADLINE, QUALITY, cell
from dgr.stats import UNKNOWN, Estimate, Figure

Outcome = Literal["holds", "does not hold", "undecided"]
FEATURES = (*HEADLINE[:2], *HEADLINE[3:])
"""The headline metrics that cells have: they know no champion."""
OVER_REFUSALS = ("harmless_over_refusal", "borderline_over_refusal")
SHORTCOMINGS = (*QUALITY, "reasoning_tokens", "harmful_tokens")


class Verdict(Record):
    """One claim on one part of the study."""

    claim: str
    scope: str
    outcome: Outcome
    effect: Estimate
    """What the outcome was decided on."""
    measure: str
    """What the effect is, with its unit."""
    reason: str


class Table(Record):
    """A plain table; the first column names the row."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Point(Record):
    """One condition in a plot, with its interval where it has one."""

    x: Figure
    y: Figure
    low: Figure = math.nan
    high: Figure = math.nan
    label: str = ""


class Series(Record):
    """Points of one name; joined by a line, in the order of x, where `line`."""

    name: str
    points: tuple[Point, ...]
    line: bool = True


class Plot(Record):
    """Series on common axes. `categories` names the places of an x axis without numbers."""

    name: str
    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    categories: tuple[str, ...] = ()
    log: bool = False
    """Whether x is on a logarithmic scale."""
    limit: float | None = None
    """A value of y to draw a line at."""


class Findings(Record):
    """Everything that a study says."""

    verdicts: tuple[Verdict, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    sentences: tuple[str, ...] = ()
    """More findings, beside those of the verdicts."""


def decided(effect: Estimate, *, holds: bool, fails: bool) -> Outcome:
    """Neither where the interval decides nothing, or there is no figure."""
    if not effect.known:
        return "undecided"
    return "holds" if holds else "does not hold" if fails else "undecided"


def worst_over_refusal(figures: Mapping[str, Estimate]) -> Estimate:
    """Of harmless and borderline requests, the one whose interval reaches higher."""
    found = [figures[name] for name in OVER_REFUSALS if name in figures]
    return max(found, key=lambda figure: figure.high, default=UNKNOWN)


def bounded(claim: str, scope: str, figures: Mapping[str, Estimate], limit: float) -> Verdict:
    """Whether over-refusal, harmless and borderline, stays below the limit."""
    worst = worst_over_refusal(figures)
    told = ", ".join(
        f"{describe(name).label.lower()} {share(figures[name])}"
        for name in OVER_REFUSALS
        if name in figures
    )
    return Verdict(
        claim=claim,
        scope=scope,
        outcome=decided(worst, holds=worst.high <= limit, fails=worst.low > limit),
        effect=worst,
        measure="the larger over-refusal, share",
        reason=f"{told or 'nothing harmless was asked'}, against a limit of {100 * limit:g} %",
    )


def points(figure: Estimate) -> str:
    """`-2.0 [-3.5, -0.8] points, n = 160`."""
    if not figure.known:
        return "unknown"
    return f"{cell(describe('reasoning_difference'), figure)} points, n = {figure.n}"


def share(figure: Estimate) -> str:
    if not figure.known:
        return "unknown"
    return f"{cell(describe('harmful_compliance'), figure)} %, n = {figure.n}"


def plain(figure: Estimate) -> str:
    """`0.71 [0.42, 0.88]`."""
    if not figure.known:
        return "unknown"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def figure_cells(figures: Mapping[str, Estimate], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(cell(describe(name), figures.get(name)) for name in names)


def labels(names: Sequence[str]) -> tuple[str, ...]:
    units = {"share": "%", "points": "points", "tokens": "tokens"}
    return tuple(f"{describe(name).label}, {units[describe(name).unit]}" for name in names)


def point(x: float, figure: Estimate | None, label: str = "", scale: float = 100) -> Point:
    """A figure at `x`, shares in per cent."""
    if figure is None or not figure.known:
        return Point(x=x, y=math.nan, label=label)
    values = (scale * value for value in (figure.value, figure.low, figure.high))
    y, low, high = values
    return Point(x=x, y=y, low=low, high=high, label=label)

"""The table of arms: one source for the command line, the README and the report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dgr.metrics import KINDS, Metric, describe
from dgr.stats import Estimate

HEADLINE = (
    "reasoning_accuracy",
    "reasoning_difference",
    "reasoning_champion_difference",
    "harmful_compliance",
    "harmful_trace_compliance",
    "harmless_over_refusal",
    "borderline_over_refusal",
)
"""What an arm is compared by."""
QUALITY = tuple(f"{kind}_{measure}" for measure in ("cut", "unparseable") for kind in KINDS)
"""How far the headline figures can be trusted."""
ORDER = (
    "base",
    "champion",
    "vanilla",
    "dgr",
    "dgr-drop",
    "vanilla-length-matched",
    "self-generated",
)

Figures = dict[str, Estimate]


@dataclass(frozen=True)
class Row:
    """One metric, and its figure for every arm; None where an arm has none."""

    name: str
    metric: Metric
    figures: dict[str, Estimate | None]

    @property
    def label(self) -> str:
        return f"{self.metric.label}, {unit(self.metric)}"


def read_figures(value: Any) -> Figures:
    """Estimates by name from JSON; what is no estimate is left out."""
    figures = {}
    for name, figure in value.items() if isinstance(value, Mapping) else ():
        try:
            figures[str(name)] = Estimate.model_validate(figure)
        except ValidationError:
            continue
    return figures


def arm_figures(decision: Mapping[str, Any]) -> dict[str, Figures]:
    """Figures of every arm of a decision, in the order in which arms are shown."""
    arms = decision["arms"]
    return {arm: read_figures(arms[arm].get("metrics")) for arm in in_order(arms)}


def in_order(arms: Iterable[str]) -> list[str]:
    """The baseline first, then known arms, then others by name."""
    rank = {arm: position for position, arm in enumerate(ORDER)}
    return sorted(arms, key=lambda arm: (rank.get(arm, len(ORDER)), arm))


def table_rows(arms: Mapping[str, Figures], names: Sequence[str] = HEADLINE) -> list[Row]:
    """One row a metric that any arm has."""
    return [
        Row(name, describe(name), {arm: figures.get(name) for arm, figures in arms.items()})
        for name in names
        if any(name in figures for figures in arms.values())
    ]


def arms_table(decision: Mapping[str, Any]) -> str:
    """Metrics by arms as aligned text: `value [low, high]`, and the verdict on each arm."""
    return aligned(_cells(decision))


def markdown_table(decision: Mapping[str, Any]) -> str:
    """The same as a Markdown table."""
    return markdown(_cells(decision))


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns, the first row as the head."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """The same as a Markdown table."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _cells(decision: Mapping[str, Any]) -> list[list[str]]:
    arms = arm_figures(decision)
    rows = [[row.label, *map(row_cell(row), arms)] for row in table_rows(arms)]
    verdicts = ["Gate", *(decision["arms"][arm]["verdict"] for arm in arms)]
    return [["", *arms], *rows, verdicts]


def row_cell(row: Row) -> Any:
    return lambda arm: cell(row.metric, row.figures[arm])


def cell(metric: Metric, figure: Estimate | None) -> str:
    """`97.2 [95.1, 98.6]`; a dash where there is no figure."""
    if figure is None:
        return "-"
    low, high = number(metric, figure.low), number(metric, figure.high)
    return f"{number(metric, figure.value)} [{low}, {high}]"


def unit(metric: Metric) -> str:
    return {"share": "%", "points": "points", "tokens": "tokens"}[metric.unit]


def number(metric: Metric, value: float) -> str:
    """A value without its unit."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:.0f}" if metric.unit == "tokens" else f"{100 * value:.1f}"

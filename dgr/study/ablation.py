"""What each part of the method does: one switch at a time against the method as it is."""

import math
from collections.abc import Sequence

from dgr.gate.config import GatePolicy
from dgr.metrics import describe
from dgr.report.table import cell
from dgr.stats import Estimate
from dgr.study.contrasts import OUTCOMES, difference, pooled
from dgr.study.findings import (
    Findings,
    Plot,
    Point,
    Series,
    Table,
    figure_cells,
    labels,
    point,
    points,
)
from dgr.study.results import Result, Results, number

DEFAULT = "default"
"""The level of axis `switch` that changes nothing."""
NAMES = tuple(OUTCOMES)


def analyse(results: Results, policy: GatePolicy) -> Findings:
    tables = []
    sentences = []
    series: dict[str, list[Series]] = {name: [] for name in NAMES}
    switches = [str(level) for level in results.levels("switch") if level != DEFAULT]
    for place, ((name,), cells) in enumerate(results.groups("set").items()):
        runs = _runs(cells)
        changes = {
            switch: {metric: _change(runs, switch, metric) for metric in NAMES}
            for switch in switches
            if switch in runs and DEFAULT in runs
        }
        tables.append(_table(results, str(name), runs, place))
        tables.append(_changes(str(name), changes, place))
        sentences.append(_sentence(str(name), changes))
        for metric in NAMES:
            found: list[Point] = [
                point(number_, changes[switch][metric])
                for number_, switch in enumerate(switches)
                if switch in changes
            ]
            series[metric].append(Series(name=str(name), points=tuple(found), line=False))
    plots = tuple(
        Plot(
            name=f"switch-{metric.replace('_', '-')}",
            title=f"{describe(metric).label}: each switch minus the method as it is",
            x="",
            y="Change, points",
            series=tuple(found),
            categories=tuple(switches),
            limit=0.0,
        )
        for metric, found in series.items()
    )
    return Findings(tables=tuple(tables), plots=plots, sentences=tuple(sentences))


def _runs(cells: Sequence[Result]) -> dict[str, list[Result]]:
    """Cells by switch, in the order of seeds."""
    found: dict[str, list[Result]] = {}
    for each in sorted(cells, key=lambda cell: cell.cell.seed):
        found.setdefault(str(each.level("switch")), []).append(each)
    return found


def _change(runs: dict[str, list[Result]], switch: str, metric: str) -> Estimate:
    """Paired by seed, over the seeds that both have."""
    ours, theirs = ({run.cell.seed: run for run in runs[name]} for name in (switch, DEFAULT))
    seeds = sorted(ours.keys() & theirs.keys())
    return difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], metric)


def _table(results: Results, name: str, runs: dict[str, list[Result]], place: int) -> Table:
    rows = []
    for switch, cells in runs.items():
        figures = pooled(cells, [results.base(run) for run in cells])
        fallbacks = [number(run.summary, "fallback_rate") for run in cells]
        mean = sum(fallbacks) / len(fallbacks)
        rate = f"{100 * mean:.1f}" if math.isfinite(mean) else "nothing refined"
        rows.append((switch, str(len(cells)), rate, *figure_cells(figures, NAMES)))
    return Table(
        name=f"switches-{place}",
        title=f"Switches: {name}",
        header=("Switch", "Seeds", "Rows with a fallback, %", *labels(NAMES)),
        rows=tuple(rows),
    )


def _changes(name: str, changes: dict[str, dict[str, Estimate]], place: int) -> Table:
    metric = describe("reasoning_difference")
    return Table(
        name=f"changes-{place}",
        title=f"Minus the method as it is, paired by seed and question, in points: {name}",
        header=("Switch", *(describe(each).label for each in NAMES)),
        rows=tuple(
            (switch, *(cell(metric, found[each]) for each in NAMES))
            for switch, found in changes.items()
        ),
    )


def _sentence(name: str, changes: dict[str, dict[str, Estimate]]) -> str:
    """What lies outside its interval; one in twenty does so by chance."""
    told = [
        f"{switch} changes {describe(metric).label.lower()} by {points(figure)}"
        for switch, found in changes.items()
        for metric, figure in found.items()
        if figure.known and (figure.low > 0 or figure.high < 0)
    ]
    count = sum(figure.known for found in changes.values() for figure in found.values())
    head = f"On {name}, {len(told)} of {count} changes lie outside their intervals"
    return f"{head}: {'; '.join(told)}." if told else f"{head}."

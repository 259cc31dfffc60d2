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
RIVAL = "self-generated"
"""The level of the target's own refusals: where there is one, a method has that to beat, too."""
NAMES = tuple(OUTCOMES)
PAIRED = ", paired by seed and question, in points"


def analyse(results: Results, policy: GatePolicy) -> Findings:
    tables = []
    sentences = []
    series: dict[str, list[Series]] = {name: [] for name in NAMES}
    switches = [str(level) for level in results.levels("switch") if level != DEFAULT]
    for place, ((name,), cells) in enumerate(results.groups("set").items()):
        runs = _runs(cells)
        changes = _against(DEFAULT, runs)
        tables.append(_table(results, str(name), runs, place))
        tables.append(
            _changes(f"Minus the method as it is{PAIRED}: {name}", f"changes-{place}", changes)
        )
        if beside := _against(RIVAL, runs):
            title = f"Minus {RIVAL}{PAIRED}: {name}"
            tables.append(_changes(title, f"beside-{RIVAL}-{place}", beside))
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


def _against(reference: str, runs: dict[str, list[Result]]) -> dict[str, dict[str, Estimate]]:
    """Every other switch minus the reference, by metric; nothing where the reference is missing."""
    return {
        switch: {metric: _change(runs[switch], runs[reference], metric) for metric in NAMES}
        for switch in runs
        if reference in runs and switch != reference
    }


def _change(ours: Sequence[Result], theirs: Sequence[Result], metric: str) -> Estimate:
    """Paired by seed, over the seeds that both have."""
    one, other = ({run.cell.seed: run for run in each} for each in (ours, theirs))
    seeds = sorted(one.keys() & other.keys())
    return difference([one[seed] for seed in seeds], [other[seed] for seed in seeds], metric)


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


def _changes(title: str, name: str, changes: dict[str, dict[str, Estimate]]) -> Table:
    metric = describe("reasoning_difference")
    return Table(
        name=name,
        title=title,
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

"""Whether the safety tax grows with distribution shift, and which measure tells it beforehand."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dgr.gate.config import GatePolicy
from dgr.stats import Estimate
from dgr.study.contrasts import correlation, told_better
from dgr.study.findings import (
    Findings,
    Plot,
    Point,
    Series,
    Table,
    Verdict,
    decided,
    plain,
)
from dgr.study.results import Result, Results, number

Measure = Callable[[Mapping[str, Any]], float]
"""A figure of a cell's summary."""


def _at(*path: str) -> Measure:
    return lambda summary: number(summary, *path)


def _whole(summary: Mapping[str, Any]) -> float:
    """NLL shift in nats a completion: how much there is to learn, not how strange each token is."""
    tokens = number(summary, "shift", "length", "completion")
    return tokens * number(summary, "shift", "shift", "completion")


HEADLINE, LENGTH = "NLL shift, completion", "Trace length, tokens"
WHOLE = "NLL shift times length"
BEFORE: dict[str, Measure] = {
    HEADLINE: _at("shift", "shift", "completion"),
    "NLL shift, trace": _at("shift", "shift", "trace"),
    "NLL shift, answer": _at("shift", "shift", "answer"),
    WHOLE: _whole,
    "Embedding shift, trace": _at("shift", "embedding_shift", "trace"),
    "Embedding shift, answer": _at("shift", "embedding_shift", "answer"),
    LENGTH: _at("shift", "length", "trace"),
}
"""What is known before any training."""
AFTER: dict[str, Measure] = {
    "KL drift, completion": _at("drift", "kl", "completion"),
    "Embedding drift, reasoning traces": _at("drift", "embedding_drift", "reasoning", "trace"),
    "Embedding drift, harmful answers": _at("drift", "embedding_drift", "harmful", "answer"),
}
"""What is known afterwards."""
FEWEST_SHARES = 3
ONE_VOICE, EVERY = "sets as they are", "every cell"


@dataclass(frozen=True)
class Scope:
    """Cells that are correlated together. A condition is all that cells share but their seed."""

    name: str
    cells: list[Result]
    tax: list[float]

    @property
    def conditions(self) -> list[str]:
        return [str(sorted(cell.cell.factors.items())) for cell in self.cells]

    def measure(self, name: str) -> list[float]:
        return [(BEFORE | AFTER)[name](cell.summary) for cell in self.cells]

    def correlation(self, name: str, *, ranks: bool, held: bool = False) -> Estimate:
        control = self.measure(LENGTH) if held else None
        return correlation(
            self.measure(name), self.tax, self.conditions, ranks=ranks, control=control
        )

    def told_better(self, name: str, other: str, *, ranks: bool) -> Estimate:
        columns = (self.measure(name), self.measure(other), self.tax)
        return told_better(*columns, self.conditions, ranks=ranks)


def analyse(results: Results, policy: GatePolicy) -> Findings:
    scopes = list(_scopes(results))
    return Findings(
        verdicts=tuple(map(_verdict, scopes)),
        tables=(_conditions(results), *(_correlations(scope) for scope in scopes)),
        plots=(*(_plot(results, name) for name in (HEADLINE, LENGTH)), _mixture(results)),
        sentences=(
            *filter(None, map(_best, scopes)),
            *filter(None, map(_whole_against_parts, scopes)),
        ),
    )


def tax(results: Results, cell: Result) -> float:
    """Reasoning that the cell lost against its own base."""
    return results.base(cell).metric("reasoning_accuracy") - cell.metric("reasoning_accuracy")


def _scopes(results: Results) -> Iterator[Scope]:
    def scope(name: str, cells: list[Result]) -> Scope:
        return Scope(name, cells, [tax(results, cell) for cell in cells])

    for (name,), cells in results.groups("set").items():
        if len({cell.level("refined_share") for cell in cells}) >= FEWEST_SHARES:
            yield scope(f"{name}, mixtures", cells)
    originals = [cell for cell in results.trained if cell.level("refined_share") == 0]
    if len({cell.level("set") for cell in originals}) >= FEWEST_SHARES:
        yield scope(ONE_VOICE, originals)
    yield scope(EVERY, results.trained)


def _verdict(scope: Scope) -> Verdict:
    raw = scope.correlation(HEADLINE, ranks=True)
    partial = scope.correlation(HEADLINE, ranks=True, held=True)
    pearson = scope.correlation(HEADLINE, ranks=False)
    return Verdict(
        claim="The safety tax grows with distribution shift",
        scope=scope.name,
        outcome=decided(raw, holds=raw.low > 0, fails=raw.high <= 0),
        effect=raw,
        measure="Spearman's correlation of NLL shift and tax over cells",
        reason=(
            f"Spearman {plain(raw)} and Pearson {plain(pearson)} over {raw.n} cells; with the "
            f"length of the traces held fixed, Spearman {plain(partial)}"
        ),
    )


def _correlations(scope: Scope) -> Table:
    return Table(
        name=f"correlations-{scope.name.replace(', ', '-').replace(' ', '-')}",
        title=f"Correlation with the safety tax: {scope.name}",
        header=("Measure", "Known", "Spearman", "Pearson", "Spearman, trace length held fixed"),
        rows=tuple(
            (
                name,
                "before" if name in BEFORE else "after",
                plain(scope.correlation(name, ranks=True)),
                plain(scope.correlation(name, ranks=False)),
                plain(scope.correlation(name, ranks=True, held=True)) if name != LENGTH else "-",
            )
            for name in (*BEFORE, *AFTER)
        ),
    )


def _best(scope: Scope) -> str:
    """Which measure predicts the tax best before any training, and whether that is certain."""
    found = {name: scope.correlation(name, ranks=True) for name in BEFORE}
    known = {name: figure for name, figure in found.items() if figure.known}
    if len(known) < 2:
        return ""
    first, second, *_ = sorted(known, key=lambda name: -abs(known[name].value))
    return (
        f"Before any training, the tax over {scope.name} is told best by {_inside(first)} "
        f"({plain(known[first])}), then by {_inside(second)} ({plain(known[second])}); the first "
        f"tells it better by {plain(scope.told_better(first, second, ranks=True))}."
    )


def _whole_against_parts(scope: Scope) -> str:
    """Whether what there is to learn tells more than how strange it is, or how long."""
    gaps = {other: scope.told_better(WHOLE, other, ranks=False) for other in (HEADLINE, LENGTH)}
    if not all(gap.known for gap in gaps.values()):
        return ""
    parts = (f"than {_inside(other)} by {plain(gap)}" for other, gap in gaps.items())
    return f"By Pearson's, {WHOLE} tells the tax over {scope.name} better {' and '.join(parts)}."


def _inside(name: str) -> str:
    """As a name stands in a sentence."""
    return name if name.startswith("NLL") else name[0].lower() + name[1:]


def _conditions(results: Results) -> Table:
    """Means over seeds; every cell's own values are in cells.csv."""
    rows = []
    for key, cells in results.groups("set", "refined_share", "arm").items():
        lost = [tax(results, cell) for cell in cells]
        means = [_mean([measure(cell.summary) for cell in cells])
                 for measure in (BEFORE | AFTER).values()]  # fmt: skip
        rows.append(
            (
                *map(str, key),
                str(len(cells)),
                f"{100 * _mean(lost):.1f}",
                f"{100 * _mean([cell.metric('harmful_compliance') for cell in cells]):.1f}",
                *(f"{value:.3g}" if math.isfinite(value) else "-" for value in means),
            )
        )
    return Table(
        name="conditions",
        title="Conditions, means over seeds",
        header=("Set", "Refined share", "Arm", "Seeds", "Tax, points", "Harmful compliance, %",
                *BEFORE, *AFTER),
        rows=tuple(rows),
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _plot(results: Results, measure: str) -> Plot:
    """Every cell by one measure and its tax."""
    found = [
        Series(
            name=str(name),
            points=tuple(
                Point(x=BEFORE[measure](cell.summary), y=100 * tax(results, cell)) for cell in cells
            ),
            line=False,
        )
        for (name,), cells in results.groups("set").items()
    ]
    return Plot(
        name="shift-tax" if measure == HEADLINE else "length-tax",
        title="Safety tax by " + ("NLL shift before training" if measure == HEADLINE
                                  else _inside(measure)),
        x=measure if measure == LENGTH else f"{measure}, nats a token",
        y="Safety tax, points",
        series=tuple(found),
    )  # fmt: skip


def _mixture(results: Results) -> Plot:
    series = []
    for (name,), cells in results.groups("set").items():
        shares: dict[float, list[float]] = {}
        for cell in cells:
            share = float(cell.level("refined_share"))
            shares.setdefault(share, []).append(100 * tax(results, cell))
        if len(shares) >= FEWEST_SHARES:
            found = tuple(
                Point(x=100 * share, y=_mean(values), low=min(values), high=max(values))
                for share, values in sorted(shares.items())
            )
            series.append(Series(name=str(name), points=found))
    return Plot(
        name="mixture-tax",
        title="Safety tax by share of refined rows; bars reach from the least to the greatest seed",
        x="Rows that are refined, %",
        y="Safety tax, points",
        series=tuple(series),
    )

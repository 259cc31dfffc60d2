"""Statistics over cells: differences under two sources of chance, and correlations.

Cells that differ in their seed (or draw) alone are the runs of one condition, and every run answers
the same questions. Both runs and questions are samples, so both are resampled: a difference that
one lucky seed made has a wide interval, as has one that a few questions made.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dgr.judges.base import Stance
from dgr.metrics import by_family, clusters, metrics, reasoning_difference
from dgr.records import EvalRecord
from dgr.report.table import Figures
from dgr.stats import CONFIDENCE, RESAMPLES, UNKNOWN, Estimate
from dgr.study.results import Result, Value

Floats = npt.NDArray[np.float64]
Table = dict[str, Floats]
"""Family -> one value a run and question, shape (runs, questions)."""
FEWEST_GROUPS = 4
"""Conditions below which no correlation is computed."""


def correct(record: EvalRecord) -> float:
    return math.nan if record.correct is None else float(record.correct)


def complies(record: EvalRecord) -> float:
    return math.nan if record.answer_stance is None else float(
        record.answer_stance is Stance.COMPLIES
    )  # fmt: skip


def refuses(record: EvalRecord) -> float:
    return math.nan if record.answer_stance is None else float(
        record.answer_stance is Stance.REFUSES
    )  # fmt: skip


OUTCOMES: dict[str, tuple[str, Value]] = {
    "reasoning_accuracy": ("reasoning", correct),
    "harmful_compliance": ("harmful", complies),
    "harmless_over_refusal": ("harmless", refuses),
    "borderline_over_refusal": ("borderline", refuses),
}
"""Metric -> the kind of suite it is of, and a record's value."""


def outcomes(runs: Sequence[Result], metric: str) -> Table:
    """The runs' values of a metric; families apart for reasoning, whose mean is over families."""
    kind, value = OUTCOMES[metric]
    found: dict[str, list[Floats]] = {}
    for run in runs:
        rows = [record for record in run.records if record.kind == kind]
        families = by_family(rows) if kind == "reasoning" else {kind: rows}
        for family, members in families.items():
            groups = sorted(clusters(members, value).items())
            found.setdefault(family, []).append(np.array([np.mean(group) for _, group in groups]))
    return {family: np.stack(values) for family, values in found.items() if len(values[0])}


def combined(parts: Sequence[tuple[float, Table]]) -> Table:
    """A weighted sum of tables; a table of one run stands beside each run of the others."""
    (weight, first), *others = parts
    total = {family: weight * values for family, values in first.items()}
    for weight, table in others:
        total = {family: values + weight * table[family] for family, values in total.items()}
    return total


def crossed(
    table: Table, seed: int = 0, floor: float = -1.0, families_drawn: bool = False
) -> Estimate:
    """Mean over families of the mean over runs and questions, in [floor, 1].

    The interval is a percentile bootstrap that draws runs, the same for every family, and within
    each family questions; families too where `families_drawn`: what is said is then of families
    that nobody asked about. n counts questions. As no outcome that n questions never showed is
    impossible, no bound comes nearer to the value than 1 - a^(1/n) at level a.
    """
    n = sum(values.shape[1] for values in table.values())
    if not n or not all(np.isfinite(values).all() for values in table.values()):
        return UNKNOWN
    rng = np.random.default_rng(seed)
    runs = next(iter(table.values())).shape[0]
    run_weights = _weights(rng, runs)
    parts = [
        np.einsum("br,rq,bq->b", run_weights, values, _weights(rng, values.shape[1]), optimize=True)
        for values in table.values()
    ]
    size = len(parts)
    weights = _weights(rng, size) if families_drawn else np.full((1, size), 1 / size)
    draws = (weights * np.stack(parts, axis=1)).sum(axis=1)
    value = float(np.mean([values.mean() for values in table.values()]))
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(bound) for bound in np.percentile(draws, [100 * tail, 100 * (1 - tail)]))
    unseen = 1 - tail ** (1 / n)
    return Estimate(
        value=value,
        low=max(floor, min(low, value - unseen)),
        high=min(1.0, max(high, value + unseen)),
        n=n,
    )


def share_of(runs: Sequence[Result], metric: str) -> Estimate:
    """The metric over runs and questions."""
    return crossed(outcomes(runs, metric), floor=0.0)


def difference(ours: Sequence[Result], theirs: Sequence[Result], metric: str) -> Estimate:
    """Ours minus theirs, paired by run and question; both in the same order."""
    tables = [outcomes(runs, metric) for runs in (ours, theirs)]
    if not all(tables):
        return UNKNOWN
    return crossed(combined([(1.0, tables[0]), (-1.0, tables[1])]))


def pooled(runs: Sequence[Result], bases: Sequence[Result]) -> Figures:
    """Every metric over runs together, beside the untrained target of each.

    A question's values are averaged first. The interval of an outcome holds two: that of questions
    alone, which is exact where shares are small, and that of runs and questions.
    """
    records, untrained = ([r for run in each for r in run.records] for each in (runs, bases))
    found = metrics(records) | reasoning_difference(records, untrained)
    crossing = {name: share_of(runs, name) for name in OUTCOMES if name in found}
    crossing["reasoning_difference"] = difference(runs, bases, "reasoning_accuracy")
    return found | {name: _wider(found[name], crossing[name]) for name in crossing if name in found}


def _wider(figure: Estimate, other: Estimate) -> Estimate:
    """The figure with an interval that holds both."""
    if not (figure.known and other.known):
        return figure
    bounds = {"low": min(figure.low, other.low), "high": max(figure.high, other.high)}
    return figure.model_copy(update=bounds)


def correlation(
    x: Sequence[float],
    y: Sequence[float],
    groups: Sequence[Any],
    *,
    ranks: bool,
    control: Sequence[float] | None = None,
) -> Estimate:
    """Spearman's (`ranks`) or Pearson's correlation, or the partial one given `control`.

    The interval is a percentile bootstrap over groups: cells of one condition come together. n
    counts cells. Unknown for fewer than `FEWEST_GROUPS` conditions, and where a value never varies.
    """
    columns = [x, y, *([control] if control is not None else [])]
    return _over_groups(columns, groups, lambda part: _correlations(part, ranks))


def told_better(
    ours: Sequence[float],
    theirs: Sequence[float],
    y: Sequence[float],
    groups: Sequence[Any],
    *,
    ranks: bool,
) -> Estimate:
    """How much better ours tells y than theirs does: the size of one correlation less the other's.

    Interval, n and what is unknown as in `correlation`; both are of the same cells in every
    resample.
    """

    def gap(part: Floats) -> Floats:
        one, other = (_correlations(part[[measure, 2]], ranks) for measure in (0, 1))
        return np.asarray(np.abs(one) - np.abs(other))

    return _over_groups([ours, theirs, y], groups, gap)


def _over_groups(
    columns: Sequence[Sequence[float]], groups: Sequence[Any], statistic: Callable[[Floats], Floats]
) -> Estimate:
    """A statistic of columns over cells, with a percentile bootstrap over groups of cells.

    `statistic` maps (columns, resamples, cells) to one value a resample. Cells without every value
    are left out.
    """
    cells = np.array(columns, dtype=float)
    whole = np.isfinite(cells).all(axis=0)
    cells = cells[:, whole]
    places: dict[Any, list[int]] = {}
    kept = [group for group, known in zip(groups, whole, strict=True) if known]
    for place, group in enumerate(kept):
        places.setdefault(group, []).append(place)
    if len(places) < FEWEST_GROUPS:
        return UNKNOWN
    value = float(statistic(cells[:, None, :])[0])
    draws = _resampled(cells, [np.array(found) for found in places.values()], statistic)
    draws = draws[np.isfinite(draws)]
    if not math.isfinite(value) or len(draws) < RESAMPLES / 2:
        return UNKNOWN
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(value=value, low=float(low), high=float(high), n=cells.shape[1])


def _resampled(
    cells: Floats, members: Sequence[Any], statistic: Callable[[Floats], Floats]
) -> Floats:
    """The statistic in each resample of the groups; those of equal length at a time."""
    rng = np.random.default_rng(0)
    by_length: dict[int, list[Any]] = {}
    for chosen in rng.integers(0, len(members), size=(RESAMPLES, len(members))):
        places = np.concatenate([members[group] for group in chosen])
        by_length.setdefault(len(places), []).append(places)
    return np.concatenate([statistic(cells[:, np.stack(found)]) for found in by_length.values()])


def _correlations(columns: Floats, ranks: bool) -> Floats:
    """Of the first two columns, the third held fixed where there is one.

    `columns` has the shape (columns, resamples, cells). NaN where a value never varies, or where
    the control explains it whole: that leaves nothing to correlate.
    """
    if ranks:
        from scipy.stats import rankdata

        columns = np.asarray(rankdata(columns, axis=-1), dtype=float)
    centred = columns - columns.mean(axis=-1, keepdims=True)
    products = np.einsum("abn,cbn->acb", centred, centred)
    scale = np.sqrt(np.einsum("aab->ab", products))
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = products / (scale[:, None] * scale[None, :])
        found = matrix[0, 1]
        if len(columns) > 2:
            xz, yz = matrix[0, 2], matrix[1, 2]
            left = (1 - xz**2) * (1 - yz**2)
            found = np.where(left > 1e-9, (found - xz * yz) / np.sqrt(np.abs(left)), np.nan)
    return np.where((scale[:2] > 1e-9).all(axis=0), found, np.nan)


def _weights(rng: np.random.Generator, size: int) -> Floats:
    """Shares with which each of `size` members is drawn, shape (resamples, size)."""
    counts = rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    return np.asarray(counts / size, dtype=float)

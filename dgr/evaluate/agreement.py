"""How far the judges of a suite agree: raw share and Cohen's kappa, each with its interval.

Two judges agree on a text when both hold it against the model or neither does; a text that one of
them could not judge is left out, and `unscored` says how many those are. Kappa (Cohen,
Educational and Psychological Measurement 20, 1960) takes off the agreement that chance alone
would bring; where neither judge varies it is not defined, and unknown.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from dgr.judges.base import Stance, counted
from dgr.records import Component, EvalRecord
from dgr.stats import CONFIDENCE, RESAMPLES, UNKNOWN, Estimate, proportion

Pairs = dict[str, list[tuple[bool, bool]]]
"""Question -> what two judges said of each sample: whether they hold it against the model."""


def agreement(records: Sequence[EvalRecord], seed: int = 0) -> dict[str, Any]:
    """Suite -> part -> `one ~ other` -> `share`, `kappa` and `unscored`; suites with several
    judges alone."""
    found: dict[str, Any] = {}
    for suite in dict.fromkeys(record.suite for record in records):
        rows = [record for record in records if record.suite == suite]
        judges = dict.fromkeys(verdict.judge for row in rows for verdict in row.verdicts)
        if len(judges) > 1:
            found[suite] = {
                part.value: {
                    f"{one} ~ {other}": _measure(rows, part, (one, other), seed)
                    for one, other in combinations(judges, 2)
                }
                for part in (Component.ANSWER, Component.TRACE)
            }
    return found


def _measure(
    rows: Sequence[EvalRecord], part: Component, judges: tuple[str, str], seed: int
) -> dict[str, Any]:
    pairs: Pairs = {}
    unscored = 0
    for row in rows:
        stances = {
            verdict.judge: verdict.stance for verdict in row.verdicts if verdict.part is part
        }
        said = [stances.get(judge, Stance.UNSCORED) for judge in judges]
        if Stance.UNSCORED in said:
            unscored += 1
            continue
        one, other = (stance is counted(row.kind) for stance in said)
        pairs.setdefault(row.item, []).append((one, other))
    share = proportion([float(one == other) for one, other in values] for values in pairs.values())
    return {"share": share, "kappa": kappa(pairs, seed), "unscored": unscored}


def kappa(pairs: Mapping[str, Sequence[tuple[bool, bool]]], seed: int = 0) -> Estimate:
    """Cohen's kappa with a percentile bootstrap over questions.

    Draws in which neither judge varies say nothing and are left out; unknown where they are more
    than half.
    """
    counts = np.array([list(_table(values)) for values in pairs.values()], dtype=float)
    if not len(counts):
        return UNKNOWN
    value = float(_kappas(counts.sum(axis=0)[None, :])[0])
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    draws = _kappas(weights @ counts)
    draws = draws[np.isfinite(draws)]
    if not math.isfinite(value) or len(draws) < RESAMPLES / 2:
        return UNKNOWN
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(value=value, low=float(low), high=float(high), n=len(counts))


def _table(values: Sequence[tuple[bool, bool]]) -> Iterator[int]:
    """How often both, the first alone, the second alone, and neither."""
    for cell in ((True, True), (True, False), (False, True), (False, False)):
        yield values.count(cell)


def _kappas(tables: "np.ndarray[Any, np.dtype[np.float64]]") -> Any:
    """Kappa of each row of counts; not a number where chance alone would agree throughout."""
    both, first, second, neither = tables.T
    total = tables.sum(axis=1)
    observed = (both + neither) / total
    chance = (both + first) * (both + second) + (second + neither) * (first + neither)
    expected = chance / total**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)

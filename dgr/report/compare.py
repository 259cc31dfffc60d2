"""Runs that differ in their seed, side by side: figures pooled by question.

The questions stay the unit of chance: the samples that a question got under all seeds are averaged
first. Three seeds are too few for an interval over seeds, so each seed's own value is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.metrics import describe, metrics, mismatch, reasoning_difference
from dgr.records import EvalRecord
from dgr.report.read import Run
from dgr.report.table import arms_table, cell, in_order, markdown_table, number
from dgr.stats import Estimate


@dataclass(frozen=True)
class Difference:
    """Reasoning of one arm minus that of another, in [-1, 1]: pooled, and of each run."""

    arm: str
    against: str
    pooled: Estimate
    runs: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """What several runs say together."""

    seeds: tuple[int, ...]
    decision: dict[str, Any]
    """Arms with pooled figures and `passed in i of n`, in the shape of `decision.json`."""
    differences: tuple[Difference, ...]
    """The candidate against every other arm."""
    shift: dict[str, tuple[float, ...]]
    """Data set -> NLL shift of its completions in each run, in nats a token."""


def compare(folders: Sequence[Path]) -> Comparison:
    """Pool the finished runs in `folders`.

    Raises `UserError` when one is not finished, two have the same seed, or their configs differ
    in more than name and seed.
    """
    runs = [_finished(folder) for folder in folders]
    first = runs[0]
    for run in runs[1:]:
        _check_same(first, run)
    seeds = tuple(int(run.config["seed"]) for run in runs)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"the runs have the seeds {list(seeds)}; each needs one of its own")
    arms = in_order(first.decision["arms"])
    records = {arm: [_records(run, arm) for run in runs] for arm in arms}
    return Comparison(
        seeds=seeds,
        decision={
            "arms": {
                arm: {
                    "verdict": _passed(runs, arm),
                    "metrics": _pooled(records[arm], records[first.baseline]),
                }
                for arm in arms
            }
        },
        differences=tuple(
            _difference(records, first.candidate, arm) for arm in arms if arm != first.candidate
        ),
        shift=_shift(runs),
    )


def _finished(folder: Path) -> Run:
    run = Run(folder)
    if not run.decision or "seed" not in run.config:
        raise UserError(f"{folder} holds no finished run: run.json or decision.json is missing")
    return run


def _check_same(first: Run, run: Run) -> None:
    ours, theirs = ({**found.config, "name": None, "seed": None} for found in (first, run))
    different = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    if different:
        raise UserError(
            f"{first.folder} and {run.folder} differ in {', '.join(different)}; "
            "compare runs of one config under different seeds"
        )


def _records(run: Run, arm: str) -> list[EvalRecord]:
    rows = run.step(f"evaluate/{arm}").records(EvalRecord)
    if not rows:
        raise UserError(f"{run.folder} has no evaluation of {arm}; run it again")
    return rows


def _passed(runs: Sequence[Run], arm: str) -> str:
    passed = sum(run.decision["arms"][arm]["verdict"] == "passed" for run in runs)
    return f"passed in {passed} of {len(runs)}"


def _pooled(
    runs: Sequence[list[EvalRecord]], baseline: Sequence[list[EvalRecord]]
) -> dict[str, Estimate]:
    ours, theirs = _together(runs), _together(baseline)
    return metrics(ours) | reasoning_difference(ours, theirs)


def _difference(
    records: Mapping[str, Sequence[list[EvalRecord]]], arm: str, against: str
) -> Difference:
    ours, theirs = records[arm], records[against]
    for new, old in zip(ours, theirs, strict=True):
        if problem := mismatch(new, old):
            raise UserError(f"{arm} and {against}: {problem}")
    return Difference(
        arm,
        against,
        pooled=_change(_together(ours), _together(theirs)),
        runs=tuple(_change(new, old).value for new, old in zip(ours, theirs, strict=True)),
    )


def _change(candidate: Sequence[EvalRecord], other: Sequence[EvalRecord]) -> Estimate:
    return reasoning_difference(candidate, other)["reasoning_difference"]


def _together(runs: Sequence[list[EvalRecord]]) -> list[EvalRecord]:
    return [record for run in runs for record in run]


def _shift(runs: Sequence[Run]) -> dict[str, tuple[float, ...]]:
    sets = [run.step("shift").summary.get("sets", {}) for run in runs]
    return {
        name: tuple(float(found[name]["shift"]["completion"]["value"]) for found in sets)
        for name in sets[0]
        if all("shift" in found.get(name, {}) for found in sets)
    }


def comparison_text(comparison: Comparison, *, markdown: bool = False) -> str:
    """The comparison as a table and a few lines, for people."""
    table = markdown_table if markdown else arms_table
    quote, bullet = ("`", "- ") if markdown else ("", "")
    points = describe("reasoning_difference")
    lines = [
        f"{bullet}Reasoning, {quote}{each.arm}{quote} minus {quote}{each.against}{quote}: "
        f"{cell(points, each.pooled)} points; by seed "
        f"{', '.join(number(points, value) for value in each.runs)}"
        for each in comparison.differences
    ]
    lines += [
        f"{bullet}NLL shift, {quote}{name}{quote}, by seed: "
        f"{', '.join(f'{value:.2f}' for value in values)} nats a token"
        for name, values in comparison.shift.items()
    ]
    return "\n".join([table(comparison.decision), "", *lines])

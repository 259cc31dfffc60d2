"""Two evaluated models, question by question: their figures, and the paired change."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.files import read_records
from dgr.metrics import (
    COMPARABLE,
    by_family,
    describe,
    difference,
    difference_name,
    evidence_problem,
    figure,
    full_name,
    mismatch,
)
from dgr.records import EvalRecord
from dgr.report.table import aligned, cell, markdown, unit
from dgr.stats import Estimate
from dgr.steps import MANIFEST, verify


@dataclass(frozen=True)
class Change:
    """One metric of both models, and the second minus the first."""

    name: str
    first: Estimate
    second: Estimate
    change: Estimate

    @property
    def reading(self) -> str:
        """What the interval says of the second model."""
        if not self.change.known:
            return "unknown"
        if self.change.low <= 0 <= self.change.high:
            return "undecided"
        higher = describe(self.name).better == "higher"
        return "better" if (self.change.value > 0) == higher else "worse"


def is_evaluation(folder: Path) -> bool:
    """Whether a folder is what evaluation of one model wrote; a run has its steps below it."""
    return (folder / MANIFEST).is_file()


def compare_models(first: Path, second: Path) -> list[Change]:
    """Every metric that both were measured by, and accuracy by family.

    Raises `UserError` where a folder holds no whole evaluation, or the two were not asked the same
    questions as often, in the same way.
    """
    ours, theirs = (_evaluation(folder) for folder in (first, second))
    for what, value in _terms(ours).items():
        if value != _terms(theirs).get(what):
            raise UserError(
                f"{first} and {second} were evaluated with a different {what}; "
                "evaluate both under one config"
            )
    old, new = (
        list(read_records(folder / "records.jsonl", EvalRecord)) for folder in (first, second)
    )
    problem = evidence_problem(old) or evidence_problem(new) or mismatch(new, old)
    if problem:
        raise UserError(f"{second} (candidate) and {first} (baseline): {problem}")
    return list(_changes(old, new))


def _evaluation(folder: Path) -> dict[str, Any]:
    manifest = verify(folder)
    if manifest["step"] != "evaluate":
        raise UserError(
            f"{folder} was written by the step {manifest['step']}; "
            "name the folder of an evaluation, for example runs/nano/evaluate/dgr"
        )
    return manifest


def _terms(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides what was asked and how it was sampled and read, by what to call it."""
    config = dict(manifest["config"])
    terms = {f"suite '{suite['name']}'": suite for suite in config.pop("suites", [])}
    files = {
        f"file of {name.replace('/', ' ')}": digest
        for name, digest in manifest["inputs"].items()
        if name.startswith("suite/")
    }
    return {"set of suites": sorted(terms), "evaluation config": config} | terms | files


def _changes(old: Sequence[EvalRecord], new: Sequence[EvalRecord]) -> Iterator[Change]:
    kinds = {row.kind for row in old}
    for name in COMPARABLE:
        if name.partition("_")[0] in kinds:
            yield _change(name, name, old, new)
    before = by_family([row for row in old if row.kind == "reasoning"])
    after = by_family([row for row in new if row.kind == "reasoning"])
    for family, rows in before.items() if len(before) > 1 else ():
        name = "reasoning_accuracy"
        yield _change(full_name(name, family=family), name, rows, after[family])


def _change(shown: str, name: str, old: Sequence[EvalRecord], new: Sequence[EvalRecord]) -> Change:
    return Change(shown, figure(name, old), figure(name, new), difference(name, new, old))


def changes_text(changes: Sequence[Change], names: Sequence[str], *, as_markdown: bool) -> str:
    """A table for people; `names` are those of the two models."""
    rows = [["", *names, "change, points", "the second is", "n"]]
    for each in changes:
        metric = describe(each.name)
        points = describe(difference_name(each.name.partition("/")[0]))
        label = f"{metric.label}, {unit(metric)}"
        figures = [cell(metric, each.first), cell(metric, each.second), cell(points, each.change)]
        rows.append([label, *figures, each.reading, str(each.change.n)])
    return markdown(rows) if as_markdown else aligned(rows)

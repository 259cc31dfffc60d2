"""What finished cells hold: read, grouped, and written as one tidy table."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.files import read_records, write_text
from dgr.records import EvalRecord
from dgr.registry.figures import metrics as flattened
from dgr.steps import summary_of, verify
from dgr.study.cells import Cell
from dgr.study.config import Level

Key = tuple[Level, ...]


@dataclass(frozen=True)
class Result:
    """One finished cell."""

    cell: Cell
    summary: dict[str, Any]
    records: list[EvalRecord]

    def level(self, axis: str) -> Level:
        """Its level on an axis; `arm` and `seed` are axes too."""
        if axis in ("arm", "seed"):
            return self.cell.arm if axis == "arm" else self.cell.seed
        return self.cell.factors[axis]

    def metric(self, name: str) -> float:
        return number(self.summary, "metrics", name)


@dataclass(frozen=True)
class Results:
    """All cells of a study."""

    trained: list[Result]
    bases: dict[str, Result]

    def base(self, result: Result) -> Result:
        """The untrained target as it was evaluated beside the cell."""
        return self.bases[result.cell.base]

    def groups(self, *axes: str, **levels: Level) -> dict[Key, list[Result]]:
        """Cells with these levels by their own levels on `axes`, in order of appearance."""
        found: dict[Key, list[Result]] = {}
        for result in self.trained:
            if all(result.level(axis) == level for axis, level in levels.items()):
                found.setdefault(tuple(result.level(axis) for axis in axes), []).append(result)
        return found

    def levels(self, axis: str) -> list[Level]:
        return list(dict.fromkeys(result.level(axis) for result in self.trained))


def read_results(folders: Mapping[str, Path]) -> Results:
    """The cells in the folders that `run_cell` wrote. Raises `UserError` for a changed one."""
    found = []
    for folder in folders.values():
        verify(folder)
        summary = summary_of(folder)
        cell = Cell.model_validate({name: summary[name] for name in Cell.model_fields})
        found.append(
            Result(cell, summary, list(read_records(folder / "records.jsonl", EvalRecord)))
        )
    results = Results(
        trained=[result for result in found if result.cell.trains],
        bases={result.cell.id: result for result in found if not result.cell.trains},
    )
    for result in results.trained:
        if result.cell.base not in results.bases:
            raise UserError(f"cell {result.cell.id} lacks its base {result.cell.base}")
    return results


def number(summary: Mapping[str, Any], *path: str) -> float:
    """A figure's value (or a plain number) in a summary; NaN where there is none."""
    value: Any = summary
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = value.get("value", value.get("mean"))
    return float(value) if isinstance(value, (int, float)) else math.nan


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """Standard deviation, least and greatest; NaN where there are too few."""
    found = [value for value in values if math.isfinite(value)]
    if not found:
        return math.nan, math.nan, math.nan
    mean = sum(found) / len(found)
    variance = sum((value - mean) ** 2 for value in found)
    deviation = math.sqrt(variance / (len(found) - 1)) if len(found) > 1 else math.nan
    return deviation, min(found), max(found)


def write_cells(results: Results, path: Path) -> None:
    """`cells.csv`: one line a cell, every figure by its value in a column of its own."""
    every = [*results.bases.values(), *results.trained]
    lines = [_line(result) for result in every]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())


def _line(result: Result) -> dict[str, Any]:
    cell = result.cell
    named = {"cell": cell.id, "arm": cell.arm, "seed": cell.seed, **cell.factors}
    parts = {name: value for name, value in result.summary.items() if name not in Cell.model_fields}
    values = {
        name: value
        for name, value in flattened(parts).items()
        if not name.endswith((".low", ".high", ".n"))
    }
    return named | {"base": cell.base} | values


Value = Callable[[EvalRecord], float]

"""Finished cells made by hand, for tests of what reads them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dgr.files import read_json
from dgr.metrics import metrics
from dgr.records import EvalRecord
from dgr.settings import Settings
from dgr.stats import Estimate
from dgr.steps import StepFolder
from dgr.study.cells import Cell
from dgr.study.config import Level, StudyConfig, load_study
from tests.records import reasoning, safety

ROOT = Path(__file__).parents[2]
QUESTIONS = 80


def study_file(folder: Path, kind: str, grids: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    """The shipped studies with other grids; measures and costs stay."""
    import yaml

    value = yaml.safe_load((ROOT / "configs" / "studies" / "nano.yaml").read_text())
    value["studies"] = {kind: {**value["studies"][kind], "grids": list(grids), **more}}
    path = folder / "studies.yaml"
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def study(folder: Path, kind: str, grids: Sequence[Mapping[str, Any]]) -> StudyConfig:
    return load_study(kind, study_file(folder, kind, grids))


@lru_cache
def records(
    accuracy: float, compliance: float, refusal: float = 0.0, seed: int = 0
) -> tuple[EvalRecord, ...]:
    """Two families of reasoning questions and the safety suites, with about these shares."""
    rng = np.random.default_rng(seed)
    found = []
    for family in ("sums", "stories"):
        right = rng.permutation(QUESTIONS) < round(accuracy * QUESTIONS)
        found += reasoning(list(right.astype(float)), family)
    complying = round(compliance * QUESTIONS)
    found += safety("harmful", QUESTIONS - complying, complying)
    refusing = round(refusal * QUESTIONS)
    for kind in ("harmless", "borderline"):
        found += safety(kind, refusing, QUESTIONS - refusing)
    return tuple(found)


@lru_cache
def _metrics(rows: tuple[EvalRecord, ...]) -> dict[str, Estimate]:
    return metrics(rows)


def finished(folder: Path, cell: Cell, rows: Sequence[EvalRecord], **more: Any) -> Path:
    """A cell's folder as `run_cell` leaves it."""
    out = folder / cell.id
    with StepFolder(out, "cell", Settings(), {}, seed=cell.seed) as step:
        summary = {**cell.model_dump(mode="json"), "metrics": _metrics(tuple(rows)), **more}
        if cell.trains:
            summary |= {"training": {"last_loss": 0.1, "steps": 3}}
        step.finish(summary, {"records.jsonl": rows})
    return out


def trained(arm: str = "dgr", seed: int = 0, base: str = "base-s0", **factors: Level) -> Cell:
    name = "-".join(map(str, (arm, *factors.values(), seed)))
    return Cell(id=name.replace(" ", "-"), arm=arm, seed=seed, factors=factors, base=base)


def untrained(seed: int = 0) -> Cell:
    return Cell(id=f"base-s{seed}", arm="base", seed=seed)


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(folder / "summary.json")
    return found

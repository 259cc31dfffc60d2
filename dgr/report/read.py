"""What a run's folder holds. A run that failed is read as far as it came.

The folder: `decision.json` (or `gate/decision.json`), `run.json`, and one folder a step, some of
them with one folder an arm below; each finished one has `manifest.json`, `summary.json`,
`timing.json` and mostly `records.jsonl`.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from dgr.errors import UserError
from dgr.files import read_json, read_records
from dgr.report.table import Figures, in_order, read_figures
from dgr.steps import MANIFEST, SUMMARY, TIMING

RecordT = TypeVar("RecordT", bound=BaseModel)

SINGLE_STEPS = ("ingest", "refine", "own", "shift")
ARM_STEPS = ("arms", "sft", "evaluate")
LAST_STEPS = ("drift", "gate")


@dataclass(frozen=True)
class StepResult:
    """One step folder, finished or not."""

    name: str
    folder: Path

    @property
    def finished(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    @cached_property
    def summary(self) -> dict[str, Any]:
        return _mapping(self.folder / SUMMARY) if self.finished else {}

    @cached_property
    def timing(self) -> dict[str, Any]:
        return _mapping(self.folder / TIMING) if self.finished else {}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return _mapping(self.folder / MANIFEST) if self.finished else {}

    def records(self, kind: type[RecordT]) -> list[RecordT]:
        """The records as far as they can be read; empty for an unfinished step."""
        rows: list[RecordT] = []
        if self.finished:
            with suppress(UserError):
                rows.extend(read_records(self.folder / "records.jsonl", kind))
        return rows


class Run:
    """A run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = _mapping(folder / "decision.json") or _mapping(folder / "gate" / "decision.json")
        self.decision = found if _is_decision(found) else {}
        self.info = _mapping(folder / "run.json")

    def step(self, name: str) -> StepResult:
        return StepResult(name, self.folder / name)

    def arms_of(self, step: str) -> dict[str, StepResult]:
        """Results of a step that runs once an arm."""
        root = self.folder / step
        names = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
        shown = in_order(name for name in names if not name.startswith("."))
        return {arm: self.step(f"{step}/{arm}") for arm in shown}

    @cached_property
    def steps(self) -> list[StepResult]:
        """Every step folder that a whole run has, in the order of the work."""
        arms = self.expected_arms
        names = [*SINGLE_STEPS]
        for step in ARM_STEPS:
            found = [*self.arms_of(step)]
            wanted = [arm for arm in arms if arm != self.baseline or step == "evaluate"]
            names += [f"{step}/{arm}" for arm in in_order({*found, *wanted})]
        return [self.step(name) for name in (*names, *LAST_STEPS)]

    @property
    def missing(self) -> list[str]:
        return [step.name for step in self.steps if not step.finished]

    @property
    def baseline(self) -> str:
        return str(self.decision.get("baseline", "base"))

    @property
    def candidate(self) -> str:
        return str(self.decision.get("candidate") or self.config.get("candidate") or "dgr")

    @property
    def config(self) -> dict[str, Any]:
        return _dict(self.info.get("config"))

    @property
    def expected_arms(self) -> list[str]:
        """The baseline, the arms that the config names, and any that left a folder."""
        asked = _dict(self.config.get("arms")).get("arms")
        named = [str(arm) for arm in asked] if isinstance(asked, list) else []
        found = [arm for step in ARM_STEPS for arm in self.arms_of(step)]
        return in_order({self.baseline, *named, *found})

    @cached_property
    def figures(self) -> dict[str, Figures]:
        """Figures of each arm: the decision's, or the evaluation's own where there is none."""
        judged = _dict(self.decision.get("arms"))
        evaluated = self.arms_of("evaluate")
        found = {}
        for arm in in_order({*judged, *evaluated}):
            value = judged[arm] if arm in judged else evaluated[arm].summary
            figures = read_figures(_dict(value).get("metrics"))
            if figures:
                found[arm] = figures
        return found


def _mapping(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none that can be read."""
    try:
        return _dict(read_json(path))
    except (UserError, OSError):
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _is_decision(value: Mapping[str, Any]) -> bool:
    """Enough of a decision to show; anything less counts as none."""
    arms, rules = value.get("arms"), value.get("rules")
    return (
        value.get("verdict") in ("passed", "rejected")
        and isinstance(rules, list)
        and isinstance(arms, dict)
        and all(isinstance(arm, dict) and "verdict" in arm for arm in arms.values())
    )

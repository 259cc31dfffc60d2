"""From a study to its cells."""

import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from pydantic import Field

from dgr.arms import needs_refinement
from dgr.config import BASELINE, RunConfig, with_overrides
from dgr.errors import UserError
from dgr.files import canonical_json, sha256_text
from dgr.settings import Settings
from dgr.study.config import Grid, Level, StudyConfig


class Cell(Settings):
    """One arm under one config: the unit of a study."""

    id: str
    """Its name and that of its folder."""
    arm: str
    """What is trained; `base`: nothing."""
    seed: int
    """The run's seed."""
    factors: dict[str, Level] = Field(default_factory=dict)
    """Axis -> level."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """What the levels change in the run's config."""
    base: str = ""
    """The cell of the untrained target that this one is compared with."""

    def config(self, run: RunConfig) -> RunConfig:
        """The run's config as this cell has it."""
        changes = {**self.overrides, "seed": self.seed}
        if self.arm != BASELINE:
            changes |= {"arms.arms": [self.arm], "candidate": self.arm}
        return with_overrides(run, changes, f"cell {self.id}")

    @property
    def trains(self) -> bool:
        return self.arm != BASELINE


def cells_of(study: StudyConfig) -> list[Cell]:
    """Every cell once, those of the untrained target first."""
    found: dict[str, Cell] = {}
    bases: dict[str, Cell] = {}
    for cell in (cell for grid in study.grids for cell in _cells(study, grid)):
        base = _base(cell, study)
        whole = cell.model_copy(update={"base": base.id})
        bases[base.id] = base
        if found.setdefault(whole.id, whole) != whole:
            raise UserError(f"two different cells are called {whole.id}; rename a level of an axis")
    return [*bases.values(), *found.values()]


def first_cells(study: StudyConfig, cells: Iterable[Cell]) -> list[Cell]:
    """The cells whose preparation is that of all: one for each state of what cells share."""
    found: dict[str, Cell] = {}
    for cell in cells:
        config = cell.config(study.run)
        shared = {"seed": cell.seed, "trains": cell.trains, "model": config.model}
        if cell.trains:
            shared |= config.model_dump(mode="json", include={"data", "own", "refine", "engine"})
        else:
            shared["base"] = cell.id
        key = sha256_text(canonical_json(shared))
        if key not in found or (cell.trains and not needs_refinement(found[key].arm)):
            found[key] = cell
    return list(found.values())


def _cells(study: StudyConfig, grid: Grid) -> Iterator[Cell]:
    names = list(grid.axes)
    for arm, seed, levels in product(grid.arms, grid.seeds, product(*grid.axes.values())):
        factors = dict(zip(names, levels, strict=True))
        overrides: dict[str, Any] = {}
        for name, level in factors.items():
            axis = study.axes[name]
            overrides |= {axis: level} if isinstance(axis, str) else axis[str(level)]
        yield Cell(
            id=_name(arm, *levels, f"s{seed}"),
            arm=overrides.pop("arm", arm),
            seed=seed,
            factors=factors,
            overrides=overrides,
        )


def _base(cell: Cell, study: StudyConfig) -> Cell:
    """The target, evaluated as the cell is."""
    kept = {
        name: value
        for name, value in cell.overrides.items()
        if name.startswith(("evaluate.", "engine.")) or name in ("model", "revision")
    }
    mark = (sha256_text(canonical_json(kept))[:6],) if kept else ()
    name = _name(BASELINE, *mark, f"s{cell.seed}")
    return Cell(id=name, arm=BASELINE, seed=cell.seed, overrides=kept)


def _name(*parts: Level) -> str:
    """Parts joined to a name that is good for a folder and a key."""
    text = "-".join(map(str, parts)).lower()
    return re.sub(r"[^a-z0-9.]+", "-", text).strip("-.")

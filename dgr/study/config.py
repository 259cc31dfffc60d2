"""The config of studies: which cells there are, over which run."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from dgr.arms.config import Arm
from dgr.config import RunConfig, load_run_config, with_overrides
from dgr.errors import UserError
from dgr.settings import Settings, load_settings

Kind = Literal["tax", "shift", "samples", "categories", "ablation"]
Level = str | int | float
"""One value of an axis."""
NEEDED: dict[Kind, tuple[str, ...]] = {
    "tax": ("set", "method", "budget"),
    "shift": ("set", "refined_share"),
    "samples": ("set", "rows", "draw"),
    "categories": ("set", "rows", "held_out"),
    "ablation": ("set", "switch"),
}
"""The axes that each study is read by; every grid has them."""


class Grid(Settings):
    """Every combination of arms, seeds and levels is a cell."""

    arms: tuple[Arm, ...] = Field(min_length=1)
    """The arms that are trained."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Seeds of everything random."""
    axes: dict[str, tuple[Level, ...]] = Field(default_factory=dict)
    """Axis -> the levels that it takes here."""


class Cost(Settings):
    """What one core needs, as measured; until cells of a study are finished, its estimate."""

    prepare: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds of what cells share: ingest, own, refine, the target's own evaluation."""
    cell: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds of one cell."""


class Study(Settings):
    """One study as it stands in the file."""

    grids: tuple[Grid, ...] = Field(min_length=1)
    """Its cells; what is in two grids is one cell."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """section.key -> value in the run's config, for this study alone."""
    measures: bool = False
    """Measure each arm's shift before its training, and its drift afterwards."""
    cost: Cost = Cost()


class StudiesFile(Settings):
    """A YAML file of studies over one run."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Name of the studies and of their folder."""
    extends: str | None = None
    """Another file of studies, whose run, overrides and axes hold here too, where this file says
    nothing else; not its studies."""
    run: str | None = None
    """The YAML file of the run that is varied."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """section.key -> value in the run's config, for every study."""
    axes: dict[str, str | dict[str, dict[str, Any]]] = Field(default_factory=dict)
    """Axis -> the field of the run's config that its levels are values of, or each level's own
    table of section.key -> value."""
    studies: dict[Kind, Study] = Field(min_length=1)
    """The studies."""

    @model_validator(mode="after")
    def _has_a_run(self) -> "StudiesFile":
        if not (self.run or self.extends):
            raise ValueError("run: name the YAML file of the run that is varied")
        return self

    def over(self, base: "StudiesFile") -> "StudiesFile":
        """This file, with what `base` says and it does not."""
        axes = dict(base.axes)
        for name, axis in self.axes.items():
            former = axes.get(name)
            if isinstance(former, dict) and isinstance(axis, dict):
                axes[name] = former | axis
            else:
                axes[name] = axis
        return self.model_copy(
            update={
                "run": self.run or base.run,
                "overrides": base.overrides | self.overrides,
                "axes": axes,
            }
        )


class StudyConfig(Settings):
    """One study, whole: what its pipeline is told."""

    name: str
    """Name of the studies."""
    kind: Kind
    """Which study."""
    run: RunConfig
    """The run that is varied."""
    axes: dict[str, str | dict[str, dict[str, Any]]]
    """As in `StudiesFile`."""
    grids: tuple[Grid, ...]
    """As in `Study`."""
    measures: bool
    """As in `Study`."""
    cost: Cost
    """As in `Study`."""

    @model_validator(mode="after")
    def _axes_are_known(self) -> "StudyConfig":
        for grid in self.grids:
            missing = [name for name in NEEDED[self.kind] if name not in grid.axes]
            if missing:
                raise ValueError(f"each grid of {self.kind} needs the axes {', '.join(missing)}")
            for name, levels in grid.axes.items():
                self._check_levels(name, levels)
        return self

    def _check_levels(self, name: str, levels: tuple[Level, ...]) -> None:
        axis = self.axes.get(name)
        if axis is None:
            raise ValueError(f"axes has no '{name}'")
        for level in levels:
            if not isinstance(axis, str) and str(level) not in axis:
                raise ValueError(f"axis '{name}' has no level '{level}'")


def load_studies(path: Path) -> StudiesFile:
    """A file of studies, with what it takes over from the one that it extends."""
    file = load_settings(StudiesFile, path)
    if file.extends is None:
        return file
    base = load_settings(StudiesFile, Path(file.extends))
    if base.extends is not None:
        raise UserError(
            f"{path}: extends: {file.extends} extends a file itself; extend {base.extends}"
        )
    return file.over(base)


def load_study(kind: str, path: Path) -> StudyConfig:
    """The study `kind` of a file of studies; every cell's config is checked."""
    from dgr.study.cells import cells_of

    file = load_studies(path)
    found = next((study for name, study in file.studies.items() if name == kind), None)
    if found is None:
        raise UserError(f"{path} has no study '{kind}'; it has {', '.join(file.studies)}")
    assert file.run is not None
    run = load_run_config(Path(file.run))
    run = with_overrides(run, file.overrides | found.overrides, f"{path}, overrides of {kind}")
    study = _resolved(file, kind, run, found, path)
    for cell in cells_of(study):
        cell.config(study.run)
    return study


def _resolved(
    file: StudiesFile, kind: str, run: RunConfig, found: Study, path: Path
) -> StudyConfig:
    from dgr.settings import parse_settings

    value = found.model_dump(mode="json", exclude={"overrides"})
    value |= {"name": file.name, "kind": kind, "axes": file.axes, "run": run.model_dump()}
    return parse_settings(StudyConfig, value, f"{path}, {kind}")

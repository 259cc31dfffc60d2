"""A study: many cells of one run's config, and what they say together.

    run_study(study, Path("runs/studies/tax"))      # on this machine, CELLS_AT_ONCE at a time

What cells share is made in the first loop, so that no two of them make it at once. A cell is one
component that takes the steps of the method in its own process: with a process a step, starting
them would cost more than many a small cell.
"""

from pathlib import Path
from typing import Any

from kfp import dsl

from components.cell import cell as run_cell
from components.conclude import conclude
from components.gather import gather
from components.prepare import prepare
from components.track import track
from dgr.config import RunConfig
from dgr.engines import model_digest
from dgr.files import canonical_json
from dgr.runtime import StepSettings
from dgr.settings import Settings
from dgr.study import CellsConfig, StudyConfig, cells_of, first_cells
from pipelines.arguments import digests
from pipelines.local import pipeline_run

CELLS_AT_ONCE = 2


@dsl.pipeline(name="dgr-study", description="One run varied along axes, and what its cells say.")
def study(
    first: list,  # type: ignore[type-arg]  # KFP knows the bare list alone
    cells: list,  # type: ignore[type-arg]
    cell_settings: str,
    study_settings: str,
) -> None:
    """Make what cells share, then the cells, then their table, plots and findings.

    `first` and `cells` hold `dgr.study.Cell` as JSON. `cell_settings` know nothing of the other
    cells, so a cell stays cached when the study grows.
    """
    with dsl.ParallelFor(first, name="first", parallelism=CELLS_AT_ONCE) as cell:
        prepared = prepare(settings=cell_settings, cell=cell).outputs["out"]
    gathered = gather(settings=cell_settings, prepared=dsl.Collected(prepared))
    with dsl.ParallelFor(cells, name="cells", parallelism=CELLS_AT_ONCE) as cell:
        made = run_cell(settings=cell_settings, cell=cell).after(gathered).outputs["out"]
    results = conclude(settings=study_settings, cells=dsl.Collected(made))
    # Cheap, and what people read: KFP's cache knows the cells by their names alone.
    results.set_caching_options(False)
    recorded = track(
        settings=study_settings,
        results=results.outputs["out"],
        cells=dsl.Collected(made),
    )
    recorded.set_caching_options(False)


def run_study(config: StudyConfig, place: Path) -> None:
    """Run a study into the folder `place`; a stopped one goes on where it was."""
    place = place.absolute()
    told = study_arguments(config, str(place))
    with pipeline_run(place, CELLS_AT_ONCE):
        study(**told)


def study_arguments(config: StudyConfig, place: str) -> dict[str, Any]:
    """Arguments of `study` for a study at `place`; its shared steps are those of its siblings."""
    cells = cells_of(config)
    files = _files([cell.config(config.run) for cell in cells])
    steps = f"{place.rstrip('/').rpartition('/')[0]}/shared"

    def step(section: Settings, found: dict[str, Any], **options: Any) -> str:
        settings = StepSettings(
            config=section.model_dump(mode="json"), seed=config.run.seed, run=place, options=options
        )
        return canonical_json(settings.model_dump(mode="json") | found)

    told = digests(files)
    told["digests"]["model"] = model_digest(config.run.model, config.run.revision)
    return {
        "first": [canonical_json(cell.model_dump()) for cell in first_cells(config, cells)],
        "cells": [canonical_json(cell.model_dump()) for cell in cells],
        "cell_settings": step(CellsConfig.of_study(config), told, steps=steps),
        "study_settings": step(config, digests({})),
    }


def _files(configs: list[RunConfig]) -> dict[str, str]:
    """Every data file that some cell reads, by its name."""
    found = {
        path
        for config in configs
        for path in (
            config.data.source,
            *(mix.path for mix in config.own.mix),
            *(suite.path for suite in config.evaluate.suites),
        )
    }
    return {f"file/{path}": path for path in sorted(found)}

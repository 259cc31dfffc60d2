"""How much work a study is, before it is done."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dgr.files import read_json
from dgr.steps import MANIFEST, TIMING
from dgr.study.cells import cells_of, first_cells
from dgr.study.config import StudyConfig

START = 4.0
"""Seconds that a component needs to start, its libraries included."""


@dataclass(frozen=True)
class Estimated:
    """What a study would take; seconds are of one core."""

    kind: str
    cells: int
    finished: int
    shared: int
    """States of what cells share, each prepared once."""
    cell_seconds: float
    """Of one cell: the median of the finished ones, else what the config says."""
    seconds: float
    """Of everything that is not finished."""


def plan_study(study: StudyConfig, place: Path) -> Estimated:
    """The work of a study in the folder `place`."""
    cells = cells_of(study)
    first = first_cells(study, cells)
    folders = [place / "cells" / cell.id for cell in cells if cell.trains]
    taken = [
        float(read_json(folder / TIMING)["seconds"])
        for folder in folders
        if (folder / MANIFEST).is_file() and (folder / TIMING).is_file()
    ]
    prepared = sum((place / "prepare" / cell.id / MANIFEST).is_file() for cell in first)
    seconds = median(taken) if taken else study.cost.cell
    return Estimated(
        kind=study.kind,
        cells=len(cells),
        finished=len(taken),
        shared=len(first),
        cell_seconds=seconds,
        seconds=(len(folders) - len(taken)) * (seconds + START)
        + (len(first) - prepared) * (study.cost.prepare + START),
    )

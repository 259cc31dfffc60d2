"""Studies: one run varied along axes, cell by cell, and what the cells say together."""

from dgr.study.cell import CellsConfig, gather, prepare, run_cell
from dgr.study.cells import Cell, cells_of, first_cells
from dgr.study.conclude import conclude
from dgr.study.config import StudyConfig, load_studies, load_study
from dgr.study.recording import record_study
from dgr.study.shared import SharedSteps

__all__ = [
    "Cell",
    "CellsConfig",
    "SharedSteps",
    "StudyConfig",
    "cells_of",
    "conclude",
    "first_cells",
    "gather",
    "load_studies",
    "load_study",
    "prepare",
    "record_study",
    "run_cell",
]

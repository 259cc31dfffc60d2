"""The step: finished cells in; their table, figures, plots, findings and report out."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from dgr.files import write_text
from dgr.gate.config import GatePolicy
from dgr.steps import MANIFEST, StepFolder
from dgr.study import ablation, categories, samples, shift, tax
from dgr.study.config import Kind, StudyConfig
from dgr.study.findings import Findings
from dgr.study.page import markdown, paragraph, write_page
from dgr.study.plots import draw
from dgr.study.results import Results, read_results, write_cells

ANALYSES: dict[Kind, Callable[[Results, GatePolicy], Findings]] = {
    "tax": tax.analyse,
    "shift": shift.analyse,
    "samples": samples.analyse,
    "categories": categories.analyse,
    "ablation": ablation.analyse,
}


def conclude(study: StudyConfig, *, cells: Mapping[str, Path], out: Path) -> None:
    """Write `cells.csv`, `summary.json` (the findings), `findings.md`, `plots/`, `report.html`.

    `cells` maps a cell to the folder that `run_cell` wrote. Equal cells give equal bytes.
    """
    with StepFolder(out, "conclude", study, cells, study.run.seed) as step:
        if step.finished:
            return
        results = read_results(cells)
        findings = ANALYSES[study.kind](results, study.run.gate)
        (out / MANIFEST).unlink(missing_ok=True)  # from here on the old results are none
        shutil.rmtree(out / "plots", ignore_errors=True)
        for plot in findings.plots:
            draw(plot, out / "plots")
        write_cells(results, out / "cells.csv")
        write_text(out / "findings.md", markdown(study, findings))
        write_page(study, findings, out, len(cells))
        summary = {
            "study": study.kind,
            "name": study.name,
            "cells": len(cells),
            "findings": paragraph(findings),
            **findings.model_dump(mode="json", include={"verdicts", "tables"}),
        }
        step.finish(summary, {})

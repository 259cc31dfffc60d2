"""The HTML file: sections into the template, everything escaped."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgr.errors import UserError
from dgr.files import write_text
from dgr.records import EvalRecord, RefinedSample, TrainingRow
from dgr.report import sections
from dgr.report.examples import examples, questions
from dgr.report.read import Run
from dgr.report.table import cell
from dgr.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent


def build_report(run: Path, out: Path) -> None:
    """Write the report of the run's folder to the HTML file `out`.

    One file without network or script. Whatever a failed run lacks is named in it. The same
    folder gives the same bytes. Raises `UserError` when `run` is no folder.
    """
    if not run.is_dir():
        raise UserError(f"{run} is not a run folder; name one such as runs/nano")
    write_text(out, render(run))


def render(folder: Path) -> str:
    templates = environment()
    templates.filters["cell"] = lambda row, arm: cell(row.metric, row.figures[arm])
    template = templates.get_template("report.html.jinja")
    page = template.render(style=stylesheet(), **context(folder))
    return page.lstrip().encode("utf-8", "replace").decode("utf-8")


def environment(*folders: Path) -> "Environment":
    """Templates of these folders and of reports, everything escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader([*folders, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["visible"] = visible
    return found


def stylesheet() -> str:
    from markupsafe import Markup

    return Markup((HERE / "style.css").read_text(encoding="utf-8"))  # ours, not the run's


def context(folder: Path) -> dict[str, Any]:
    """All that the template shows."""
    run = Run(folder)
    seed = run.config.get("seed")
    seed = seed if isinstance(seed, int) else 0
    refined = run.step("refine").records(RefinedSample)
    trained = run.step(f"arms/{run.candidate}").records(TrainingRow)
    completions = {arm: step.records(EvalRecord) for arm, step in run.arms_of("evaluate").items()}
    return {
        "name": str(run.config.get("name") or folder.resolve().name),
        "model": str(run.config.get("model", "")),
        "candidate": run.candidate,
        "missing": run.missing,
        "verdict": sections.verdict(run),
        "arms": sections.arm_views(run),
        "headline": sections.headline_rows(run),
        "quality": sections.quality_rows(run),
        "panels": sections.arm_panels(run),
        "reasoning": sections.family_rows(run, "reasoning_accuracy"),
        "categories": sections.family_rows(run, "harmful_compliance"),
        "levels": sections.level_tables(run),
        "agreement": sections.agreement_tables(run),
        "shift": sections.shift_panels(run),
        "drift": sections.drift_panels(run),
        "lengths": sections.length_tables(run),
        "refinement": sections.refinement_tables(refined),
        "examples": examples(refined, trained, seed),
        "questions": questions(completions, seed),
        "training": sections.training(run),
        "steps": sections.step_table(run),
        "facts": sections.facts(run),
    }

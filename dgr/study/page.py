"""The study's report: one HTML file without network or script, in the style of a run's."""

import base64
from pathlib import Path

from dgr.files import write_text
from dgr.report.build import environment, stylesheet
from dgr.stats import Estimate
from dgr.study.config import StudyConfig
from dgr.study.findings import Findings, Plot, plain, points, share
from dgr.text import visible

TITLES = {
    "tax": "The safety tax, arm by arm",
    "shift": "Does the tax grow with distribution shift?",
    "samples": "How few rows activate refusal?",
    "categories": "Does refusal reach a category that was held out?",
    "ablation": "What each part of the method does",
}


def write_page(study: StudyConfig, findings: Findings, folder: Path, cells: int) -> None:
    """Write `report.html` into the folder that holds `plots/`."""
    page = environment(Path(__file__).parent).get_template("study.html.jinja")
    text = page.render(
        style=stylesheet(),
        name=study.name,
        kind=study.kind,
        title=TITLES[study.kind],
        model=study.run.model,
        cells=cells,
        findings=findings,
        figures=[(plot, _image(plot, folder)) for plot in findings.plots],
        described=described,
        effect=effect,
    )
    write_text(folder / "report.html", text.lstrip().encode("utf-8", "replace").decode("utf-8"))


def markdown(study: StudyConfig, findings: Findings) -> str:
    """`findings.md`: the verdicts and the tables for people who read in a repository."""
    lines = [f"# {TITLES[study.kind]}", "", paragraph(findings), ""]
    for table in findings.tables:
        rows = [table.header, ("---",) * len(table.header), *table.rows]
        lines += [f"## {table.title}", ""]
        lines += [
            "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows
        ]
        lines += [""]
    return "\n".join(lines)


def paragraph(findings: Findings) -> str:
    """The findings in words; every number is one of the data's."""
    told = [
        f"{verdict.claim} ({verdict.scope}): {verdict.outcome}. "
        f"{verdict.reason[:1].upper()}{verdict.reason[1:]}."
        for verdict in findings.verdicts
    ]
    return "\n\n".join([*told, *findings.sentences])


def described(plot: Plot) -> str:
    """A plot in words, for those who cannot see it."""
    parts = [
        f"{series.name}: "
        + ", ".join(
            f"{plot.categories[int(point.x)] if plot.categories else f'{point.x:g}'} {point.y:.1f}"
            for point in series.points[:40]
        )
        for series in plot.series
    ]
    return visible(f"{plot.title}. {plot.y} by {plot.x or 'name'}. {'; '.join(parts)}.", 2_000)


def effect(measure: str, figure: Estimate) -> str:
    """A verdict's effect in the unit that its measure names."""
    show = points if measure.endswith("points") else share if measure.endswith("share") else plain
    return show(figure)


def _image(plot: Plot, folder: Path) -> str:
    data = (folder / "plots" / f"{plot.name}.svg").read_bytes()
    return f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}"

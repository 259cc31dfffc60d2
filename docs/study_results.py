"""Put finished studies into docs/results/ and README.md: `python -m docs.study_results STUDIES`.

STUDIES is the folder that `make studies` fills (runs/nano-studies). What is written is read from
it: tables, plots, findings, seeds, date. So are the further files of studies in `FURTHER`, whose
folders lie beside it; where one is missing, its tables stay and the pages are without it.
"""

import csv
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine, table
from dgr.files import read_json, write_text
from dgr.stats import Estimate
from dgr.study.config import NEEDED
from dgr.study.findings import plain, points, share
from docs.why import words

ROOT = Path(__file__).parents[1]
FOLDER, README = ROOT / "docs" / "results", ROOT / "README.md"
FURTHER = {
    "why": "What explains two of the findings",
    "beyond": "What might pay less tax than dgr",
    "second": "Whether the findings hold on a second model",
    "slow": "Whether the rate is what the second model pays for",
}
"""Files of studies of their own, configs/studies/nano-*.yaml."""
BEGIN, END = "<!-- studies:begin -->", "<!-- studies:end -->"
ARMS = ("Arm", "Budget", "Reasoning accuracy, %", "Reasoning, change from the baseline, points",
        "Harmful compliance, answer, %", "Over-refusal, harmless, %",
        "Over-refusal, borderline, %")  # fmt: skip
"""Columns of a tax study's tables that the README shows."""


def main(studies: Path) -> None:
    done = _done(studies)
    for name in done:
        _copy(studies / name / "results", FOLDER / name)
    for more in FURTHER:
        for name in _done(_beside(studies, more)):
            _copy(_beside(studies, more) / name / "results", FOLDER / more / name)
    why = _beside(studies, "why")
    if "ablation" in _done(why):
        text = words(why / "ablation")
        write_text(FOLDER / "why" / "words.md", f"# By the verb of the request\n\n{text}\n")
    write_text(FOLDER / "README.md", "\n\n".join(_page(studies, done)) + "\n")
    before, _, rest = README.read_text().partition(BEGIN)
    block = "\n\n".join(_short(studies, done))
    write_text(README, f"{before}{BEGIN}\n{block}\n{END}{rest.partition(END)[2]}")


def _done(studies: Path) -> list[str]:
    """The finished ones, in the order of the docs."""
    return [name for name in NEEDED if (studies / name / "results" / "summary.json").is_file()]


def _beside(studies: Path, more: str) -> Path:
    return studies.parent / f"nano-{more}"


def _copy(results: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("*.png", "*.html", "*.json"))


def _page(studies: Path, names: Sequence[str]) -> Iterator[str]:
    yield "# What the studies found"
    yield (
        "`make studies` (`dgr study all configs/studies/nano.yaml`), written here by `python -m "
        f"docs.study_results runs/{studies.name}`. Machine of this page: {machine('torch')}. "
        "[docs/studies.md](../studies.md) says how each claim is decided; intervals are of 95 %."
    )
    if missing := [name for name in NEEDED if name not in names]:
        yield f"Not finished yet: {', '.join(missing)}."
    for name in names:
        yield f"## {name}"
        yield from _study(studies, name, name)
    for more, title in FURTHER.items():
        beside = _beside(studies, more)
        if found := _done(beside):
            yield f"## {title}"
            yield f"`dgr study all configs/studies/nano-{more}.yaml`."
        for name in found:
            yield f"### {name}"
            yield from _study(beside, name, f"{more}/{name}")
        if more == "why" and found:
            yield "By the verb of the request: [words.md](why/words.md)."


def _study(studies: Path, name: str, folder: str) -> Iterator[str]:
    """What one study found; `folder` is where it lies below the page."""
    results = studies / name / "results"
    summary = read_json(results / "summary.json")
    yield _origin(results, summary)
    yield str(summary["findings"])
    yield f"Tables: [findings.md]({folder}/findings.md); cells: [cells.csv]({folder}/cells.csv)."
    for plot in sorted((results / "plots").glob("*.svg")):
        yield f"![{plot.stem}]({folder}/plots/{plot.name})"


def _origin(results: Path, summary: dict[str, Any]) -> str:
    with (results / "cells.csv").open(newline="") as file:
        seeds = sorted({int(row["seed"]) for row in csv.DictReader(file)})
    ended = datetime.fromtimestamp(read_json(results / "timing.json")["started"], UTC).date()
    return f"{summary['cells']} cells, seeds {', '.join(map(str, seeds))}, finished on {ended}."


def _short(studies: Path, names: Sequence[str]) -> Iterator[str]:
    summaries = _summaries(studies, names)
    yield _verdicts(summaries)
    second = _beside(studies, "second")
    asked = _summaries(second, [name for name in _done(second) if name in ("tax", "shift")])
    if asked:
        yield "Those of them that were asked of a second model, of another seed and width:"
        yield _verdicts(asked)
    if "tax" in summaries:
        yield "Every arm on the shipped model at its best budget, chosen on the other seeds:"
        yield table(["Set, method", *ARMS], list(_arms(summaries["tax"])))
    if "shift" in summaries:
        yield "![The safety tax against distribution shift](docs/results/shift/plots/shift-tax.svg)"


def _summaries(studies: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {name: read_json(studies / name / "results" / "summary.json") for name in names}


def _verdicts(summaries: dict[str, dict[str, Any]]) -> str:
    return table(["Claim", "On", "Verdict", "Effect", "What it is"], [
        [each["claim"], each["scope"], f"**{each['outcome']}**", *_effect(each)]
        for summary in summaries.values() for each in summary["verdicts"]
    ])  # fmt: skip


def _effect(verdict: dict[str, Any]) -> tuple[str, str]:
    """The figure with its unit, and what is measured."""
    effect = Estimate.model_validate(verdict["effect"])
    what, _, unit = str(verdict["measure"]).rpartition(", ")
    if unit == "points":
        return points(effect), what
    if unit == "share":
        return share(effect), what
    return f"{plain(effect)}, n = {effect.n}", unit


def _arms(summary: dict[str, Any]) -> Iterator[list[str]]:
    for found in summary["tables"]:
        if found["name"].startswith("arms-"):
            places = [found["header"].index(title) for title in ARMS]
            scope = found["title"].partition(": ")[2]
            yield from ([scope, *(row[place] for place in places)] for row in found["rows"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

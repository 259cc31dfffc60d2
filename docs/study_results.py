"""Put finished studies into docs/results/ and README.md: `python -m docs.study_results STUDIES`.

STUDIES is the folder that `dgr study all` filled, for example runs/nano-studies. What is written
is read from it: tables, plots, findings, seeds, date. Each file of studies has pages of its own;
those of others stay as they are.
"""

import csv
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine, put, table
from dgr.files import read_json, write_text
from dgr.stats import Estimate
from dgr.study.config import NEEDED
from dgr.study.findings import plain, points, share
from docs.why import words

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Place:
    """Where the studies of one file are published."""

    config: str
    """The file, below configs/studies."""
    title: str
    folder: str
    """Below docs/results."""


PLACES = {
    "nano-studies": Place("nano.yaml", "What the studies found", "."),
    "nano-why": Place("nano-why.yaml", "What explains two of the findings", "why"),
    "nano-beyond": Place("nano-beyond.yaml", "What might pay less tax than dgr", "beyond"),
    "nano-second": Place(
        "nano-second.yaml", "Whether the findings hold on a second model", "second"
    ),
    "nano-slow": Place(
        "nano-slow.yaml", "Whether the rate is what the second model pays for", "slow"
    ),
}
"""By the name of the studies."""
MAIN = "nano-studies"
"""Studies of the shipped model, whose page lists the others and whose arms the README shows."""
WORDS = "nano-why"
"""Studies whose records tell what is declined, word by word."""
ARMS = ("Arm", "Budget", "Reasoning accuracy, %", "Reasoning, change from the baseline, points",
        "Harmful compliance, answer, %", "Over-refusal, harmless, %",
        "Over-refusal, borderline, %")  # fmt: skip
"""Columns of a tax study's tables that the README shows."""


def main(studies: Path, root: Path = ROOT) -> None:
    """Publish `studies` below `root`, the repository."""
    if studies.name not in PLACES:
        raise SystemExit(f"{studies} has no page; docs/study_results.py lists those that have one")
    place = PLACES[studies.name]
    folder = root / "docs" / "results" / place.folder
    done = [name for name in NEEDED if (studies / name / "results" / "summary.json").is_file()]
    if not done:
        raise SystemExit(f"{studies} holds no finished study; run `dgr study all` first")
    for name in done:
        _copy(studies / name / "results", folder / name)
    if studies.name == WORDS:
        text = words(studies / "ablation")
        write_text(folder / "words.md", f"# By the verb of the request\n\n{text}\n")
    write_text(folder / "README.md", "\n\n".join(_page(studies, place, done)) + "\n")
    put(root / "README.md", studies.name, "\n\n".join(_short(studies, done)))


def _copy(results: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("*.png", "*.html", "*.json"))


def _page(studies: Path, place: Place, names: Sequence[str]) -> Iterator[str]:
    yield f"# {place.title}"
    docs = "../" * len((Path("results") / place.folder).parts)
    yield (
        f"`dgr study all configs/studies/{place.config}`, written here by `python -m "
        f"docs.study_results runs/{studies.name}`. Machine of this page: {machine('torch')}. "
        f"[docs/studies.md]({docs}studies.md) says how each claim is decided; intervals "
        "are of 95 %."
    )
    if studies.name == WORDS:
        yield "By the verb of the request: [words.md](words.md)."
    for name in names:
        yield f"## {name}"
        yield from _study(studies / name / "results", name)
    if studies.name == MAIN:
        others = [other for other in PLACES.values() if other != place]
        yield "## Further studies"
        yield "\n".join(f"- [{each.title}]({each.folder}/README.md)" for each in others)


def _study(results: Path, name: str) -> Iterator[str]:
    """What one study found; its files lie in the folder `name` beside the page."""
    summary = read_json(results / "summary.json")
    yield _origin(results, summary)
    yield str(summary["findings"])
    yield f"Tables: [findings.md]({name}/findings.md); cells: [cells.csv]({name}/cells.csv)."
    for plot in sorted((results / "plots").glob("*.svg")):
        yield f"![{plot.stem}]({name}/plots/{plot.name})"


def _origin(results: Path, summary: dict[str, Any]) -> str:
    with (results / "cells.csv").open(newline="") as file:
        seeds = sorted({int(row["seed"]) for row in csv.DictReader(file)})
    ended = datetime.fromtimestamp(read_json(results / "timing.json")["started"], UTC).date()
    return f"{summary['cells']} cells, seeds {', '.join(map(str, seeds))}, finished on {ended}."


def _short(studies: Path, names: Sequence[str]) -> Iterator[str]:
    """What the README shows of the studies that it has a place for."""
    summaries = {name: read_json(studies / name / "results" / "summary.json") for name in names}
    yield table(["Claim", "On", "Verdict", "Effect", "What it is"], [
        [each["claim"], each["scope"], f"**{each['outcome']}**", *_effect(each)]
        for summary in summaries.values() for each in summary["verdicts"]
    ])  # fmt: skip
    if studies.name == MAIN and "tax" in summaries:
        yield "Every arm at its best budget, chosen on the other seeds:"
        yield table(["Set, method", *ARMS], list(_arms(summaries["tax"])))
    if studies.name == MAIN and "shift" in summaries:
        yield "![The safety tax against distribution shift](docs/results/shift/plots/shift-tax.svg)"


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

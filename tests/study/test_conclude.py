"""Studies with planted effects: verdicts, tables, plots and page say what was planted."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dgr.judges.base import Stance
from dgr.records import EvalRecord
from dgr.steps import manifest_digest
from dgr.study import StudyConfig, conclude
from dgr.study.cells import Cell
from dgr.study.conclude import ANALYSES
from dgr.study.findings import Findings, bounded
from dgr.study.page import paragraph
from dgr.study.results import read_results
from dgr.study.tax import best
from tests.study.cells import ROOT, finished, records, study, summary, trained, untrained


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the configs name their inputs from there


Rows = Sequence[tuple[Cell, Sequence[EvalRecord], dict[str, Any]]]


def folders(place: Path, rows: Rows) -> dict[str, Path]:
    return {cell.id: finished(place, cell, found, **more) for cell, found, more in rows}


def analysed(place: Path, config: StudyConfig, rows: Rows) -> Findings:
    return ANALYSES[config.kind](read_results(folders(place, rows)), config.run.gate)


def outcomes(found: Findings) -> dict[tuple[str, str], str]:
    return {(each.claim, each.scope): each.outcome for each in found.verdicts}


def rows_of(found: Findings, name: str) -> tuple[tuple[str, ...], ...]:
    return next(table.rows for table in found.tables if table.name == name)


TAX = [{"arms": ["vanilla"], "axes": {"set": ["r1-act"], "method": ["full"],
                                      "budget": ["full 1e-3", "full 3e-4"]}}]  # fmt: skip
SAVES = "DGR removes most of the safety tax at equal safety"
BOUNDED = "Over-refusal stays bounded"


def tax_rows(seeds: int, dgr: tuple[float, float, float]) -> Rows:
    """Vanilla's first budget is unsafe, its second costs 40 points; `dgr` is the same in both."""
    rows: list[Any] = []
    for seed in range(seeds):
        rows.append((untrained(seed), records(1.0, 1.0, seed=seed), {}))
        shown = {
            ("vanilla", "full 1e-3"): (0.95, 0.9, 0.0),
            ("vanilla", "full 3e-4"): (0.6, 0.0, 0.0),
            ("dgr", "full 1e-3"): dgr,
            ("dgr", "full 3e-4"): dgr,
        }
        for (arm, budget), shares in shown.items():
            cell = trained(arm, seed, f"base-s{seed}", set="r1-act", method="full", budget=budget)
            rows.append((cell, records(*shares, seed=seed + 10), {}))
    return rows


@pytest.mark.parametrize(
    ("dgr", "saves", "bounded"),
    [
        ((0.98, 0.0, 0.0), "holds", "holds"),
        ((0.6, 0.0, 0.5), "does not hold", "does not hold"),
        ((0.8, 0.0, 0.08), "undecided", "undecided"),
        ((0.98, 0.3, 0.0), "does not hold", "holds"),
    ],
    ids=["better", "no better", "half way", "not as safe"],
)
def test_the_tax_is_compared_with_the_best_vanilla(
    tmp_path: Path, dgr: tuple[float, float, float], saves: str, bounded: str
) -> None:
    found = analysed(tmp_path, study(tmp_path, "tax", TAX), tax_rows(2, dgr))
    assert outcomes(found) == {
        (SAVES, "r1-act, full"): saves,
        (BOUNDED, "r1-act, full"): bounded,
    }
    chosen = {row[0]: row[1] for row in rows_of(found, "arms-0")}
    assert (chosen["base"], chosen["vanilla"]) == ("", "full 3e-4")


def test_a_budget_is_chosen_by_the_other_seeds(tmp_path: Path) -> None:
    """The lucky seed of a bad budget does not choose it for itself."""
    config = study(tmp_path, "tax", TAX)
    folders = {}
    for seed in range(3):
        base = untrained(seed)
        folders[base.id] = finished(tmp_path, base, records(1.0, 1.0))
        for budget, accuracy in (("full 1e-3", 0.8), ("full 3e-4", 1.0 if seed == 0 else 0.4)):
            cell = trained("vanilla", seed, base.id, set="r1-act", method="full", budget=budget)
            folders[cell.id] = finished(tmp_path, cell, records(accuracy, 0.0))
    cells = read_results(folders).trained
    assert [run.level("budget") for run in best(cells, config.run.gate)] == ["full 1e-3"] * 3


SHIFT = [{"arms": ["dgr"], "axes": {"set": ["r1-act"], "refined_share": [0]}}]


def shift_rows(slope: float) -> Rows:
    rows: list[Any] = [(untrained(), records(1.0, 1.0), {})]
    for place, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        for seed in range(2):
            nll = 10 * (1 - share) + 0.1 * seed
            measured = {"value": nll, "low": nll, "high": nll, "n": 9}
            shift = {
                "shift": {"completion": measured},
                "length": {
                    "trace": {"mean": 30.0 + place * (-1) ** place},
                    "completion": {"mean": 50.0 - 10 * place},
                },
            }
            cell = trained("dgr", seed, set="r1-act", refined_share=share)
            rows.append((cell, records(0.9 - slope * nll, 0.0, seed=4), {"shift": shift}))
    return rows


def test_the_tax_is_told_by_shift_or_is_not(tmp_path: Path) -> None:
    claim = "The safety tax grows with distribution shift"
    config = study(tmp_path, "shift", SHIFT)
    grows = analysed(tmp_path / "a", config, shift_rows(0.05))
    assert outcomes(grows) == {
        (claim, "r1-act, mixtures"): "holds",
        (claim, "every cell"): "holds",
    }
    assert "is told best by NLL shift, completion" in paragraph(grows)
    # What is told by shift alone is told worse by shift times length.
    assert "the tax over every cell better than NLL shift, completion by -0." in paragraph(grows)
    falls = analysed(tmp_path / "b", config, shift_rows(-0.05))
    assert set(outcomes(falls).values()) == {"does not hold"}
    correlations = {row[0]: row[2] for row in rows_of(grows, "correlations-every-cell")}
    assert correlations["KL drift, completion"] == "unknown"
    conditions = next(table for table in grows.tables if table.name == "conditions")
    place = conditions.header.index("NLL shift times length")
    assert [row[place] for row in conditions.rows] == ["502", "302", "152", "51", "0.5"]


SAMPLES = [{"arms": ["dgr"], "axes": {"set": ["r1-act"], "rows": [1], "draw": [0]}}]


def sizes(tmp_path: Path, *found: tuple[int, float, float]) -> Findings:
    """What is found of three draws of each size, given its compliance and its over-refusal."""
    rows: list[Any] = [(untrained(), records(1.0, 1.0), {})]
    for size, compliance, refusal in found:
        for draw in range(3):
            cell = trained("dgr", 0, set="r1-act", rows=size, draw=draw)
            shifted = compliance + 0.1 * (draw - 1) * (compliance > 0.5)
            rows.append((cell, records(1.0, shifted, refusal), {}))
    return analysed(tmp_path, study(tmp_path, "samples", SAMPLES), rows)


ACTIVATE, ALONE = "10 rows activate refusal", "10 rows activate refusal of what is harmful alone"


@pytest.mark.parametrize(
    ("few", "outcome", "fewest"), [(0.02, "holds", "are 10"), (0.6, "does not hold", "no smaller")]
)
def test_ten_rows_are_enough_or_are_not(
    tmp_path: Path, few: float, outcome: str, fewest: str
) -> None:
    found = sizes(tmp_path, (1, 0.9, 0.0), (10, few, 0.0), (100, 0.0, 0.0))
    assert outcomes(found)[ACTIVATE, "r1-act, dgr"] == outcome
    assert fewest in paragraph(found)
    over_draws = {row[2]: row[9] for row in rows_of(found, "sizes")}
    assert (over_draws["1"], over_draws["100"]) == ("10.0", "0.0")


def test_who_declines_everything_has_not_learnt_whom_to_decline(tmp_path: Path) -> None:
    found = sizes(tmp_path, (1, 0.0, 1.0), (10, 0.0, 0.5), (30, 0.0, 0.0), (100, 0.0, 0.0))
    scope = "r1-act, dgr"
    assert outcomes(found) == {(ACTIVATE, scope): "holds", (ALONE, scope): "does not hold"}
    assert "activate refusal are 1; 30 also keep over-refusal below 10 %" in paragraph(found)


def test_over_refusal_of_nothing_harmless_is_undecided() -> None:
    found = bounded(ALONE, "r1-act, dgr", {}, 0.1)
    assert (found.outcome, found.effect.known) == ("undecided", False)
    assert "nothing harmless was asked" in found.reason


def test_nothing_is_said_of_few_rows_where_many_make_nobody_safe(tmp_path: Path) -> None:
    found = sizes(tmp_path, (10, 0.7, 0.0), (100, 0.65, 0.0))
    assert found.verdicts == ()
    assert "no number of rows is judged: after 100, harmful compliance is still 65" in paragraph(
        found
    )


CATEGORIES = [{"arms": ["dgr"], "axes": {"set": ["r1-act"], "rows": [10],
                                         "held_out": ["fraud"]}}]  # fmt: skip


@pytest.mark.parametrize(("reaches", "outcome"), [(True, "holds"), (False, "does not hold")])
def test_a_held_out_category_is_compared_with_itself(
    tmp_path: Path, reaches: bool, outcome: str
) -> None:
    rows: list[Any] = [(untrained(), records(1.0, 1.0), {})]
    for category in ("category-0", "category-1", "category-2"):
        answers = [
            record
            if reaches or record.family != category
            else record.model_copy(update={"answer_stance": Stance.COMPLIES})
            for record in records(1.0, 0.0)
        ]
        rows.append((trained("dgr", 0, set="r1-act", rows=10, held_out=category), answers, {}))
    found = analysed(tmp_path, study(tmp_path, "categories", CATEGORIES), rows)
    assert list(outcomes(found).values()) == [outcome]
    table = rows_of(found, "categories-0")
    assert [row[0] for row in table] == ["category-0", "category-1", "category-2"]
    assert all(("100.0" in row[1]) is not reaches for row in table)
    assert ("not to reach category-0" in paragraph(found)) is not reaches


ABLATION = [{"arms": ["dgr"], "axes": {"set": ["r1-act"], "switch": ["default"]}}]


def test_a_switch_that_matters_is_told(tmp_path: Path) -> None:
    rows: list[Any] = [(untrained(), records(1.0, 1.0), {})]
    for switch, shares in {
        "default": (0.95, 0.0),
        "no stance rule": (0.95, 0.5),
        "trace alone": (0.95, 0.0),
    }.items():
        cell = trained("dgr", 0, set="r1-act", switch=switch)
        rows.append((cell, records(*shares), {"fallback_rate": {"value": 0.02}}))
    found = analysed(tmp_path, study(tmp_path, "ablation", ABLATION), rows)
    assert found.verdicts == ()
    assert "1 of 8 changes lie outside their intervals" in paragraph(found)
    assert "no stance rule changes harmful compliance, answer by 50.0" in paragraph(found)
    assert {row[2] for row in rows_of(found, "switches-0")} == {"2.0"}


def test_an_arm_that_refines_nothing_has_no_rate_of_fallbacks(tmp_path: Path) -> None:
    cell = trained("self-generated", 0, set="r1-act", switch="default")
    rows: list[Any] = [(untrained(), records(1.0, 1.0), {}), (cell, records(0.9, 0.0), {})]
    found = analysed(tmp_path, study(tmp_path, "ablation", ABLATION), rows)
    assert [row[2] for row in rows_of(found, "switches-0")] == ["nothing refined"]


def test_every_switch_is_held_against_the_targets_own_refusals(tmp_path: Path) -> None:
    rows: list[Any] = [(untrained(), records(1.0, 1.0), {})]
    for switch, arm, accuracy in (
        ("default", "dgr", 0.9),
        ("self-generated", "self-generated", 0.8),
        ("LoRA", "dgr", 0.95),
    ):
        cell = trained(arm, 0, set="r1-act", switch=switch)
        rows.append((cell, records(accuracy, 0.0), {}))
    found = analysed(tmp_path, study(tmp_path, "ablation", ABLATION), rows)

    def reasoning(table: str) -> dict[str, float]:
        return {row[0]: float(row[1].split()[0]) for row in rows_of(found, table)}

    assert reasoning("changes-0") == {"self-generated": -10.0, "LoRA": 5.0}
    assert reasoning("beside-self-generated-0") == {"default": 10.0, "LoRA": 15.0}


def test_the_folder_holds_table_plots_and_page_and_repeats(tmp_path: Path) -> None:
    """What a config says is text on the page, whatever it is."""
    config = study(tmp_path, "ablation", ABLATION)
    hostile = "<img src=x onerror=alert(1)>"
    rows: list[Any] = [(untrained(), records(1.0, 1.0), {})]
    for switch, accuracy in (("default", 0.9), ("other", 0.8)):
        cell = trained("dgr", 0, set=hostile, switch=switch).model_copy(update={"id": switch})
        rows.append((cell, records(accuracy, 0.1), {}))
    cells = folders(tmp_path / "cells", rows)
    out, again = tmp_path / "out", tmp_path / "again"
    for place in (out, again):
        conclude(config, cells=cells, out=place)
    assert manifest_digest(out) == manifest_digest(again)
    lines = list(csv.DictReader((out / "cells.csv").open()))
    assert [line["cell"] for line in lines] == ["base-s0", "default", "other"]
    assert float(lines[2]["metrics.reasoning_accuracy"]) == pytest.approx(0.8)
    plots = {path.name for path in (out / "plots").iterdir()}
    assert {"switch-reasoning-accuracy.svg", "switch-reasoning-accuracy.png"} <= plots
    page = (out / "report.html").read_text()
    assert "<script" not in page and page.count("data:image/svg+xml;base64,") == 4
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert "other changes reasoning accuracy by -10.0" in (out / "findings.md").read_text()
    assert summary(out)["findings"] in (out / "findings.md").read_text()

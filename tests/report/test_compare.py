"""Runs that differ in their seed, pooled."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dgr.errors import UserError
from dgr.files import read_json, write_json
from dgr.report.compare import compare, comparison_text
from tests.report.runs import make_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    first = make_run(tmp_path)
    second = tmp_path / "demo-1"
    shutil.copytree(first, second)
    configured(second, seed=1, name="demo-1")
    return [first, second]


def configured(run: Path, **changes: Any) -> None:
    info = read_json(run / "run.json")
    write_json(run / "run.json", info | {"config": info["config"] | changes})


def answer_wrongly(run: Path, arm: str) -> None:
    path = run / "evaluate" / arm / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["correct"] = False if row["kind"] == "reasoning" else row["correct"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_figures_are_pooled_by_question(runs: list[Path]) -> None:
    alone = read_json(runs[0] / "decision.json")["arms"]["dgr"]["metrics"]
    answer_wrongly(runs[1], "dgr")
    found = compare(runs)
    pooled = found.decision["arms"]["dgr"]["metrics"]["reasoning_accuracy"]
    assert pooled.value == pytest.approx(alone["reasoning_accuracy"]["value"] / 2)
    assert pooled.n == alone["reasoning_accuracy"]["n"]
    assert found.seeds == (0, 1)
    assert found.decision["arms"]["dgr"]["verdict"] == "passed in 2 of 2"


def test_the_candidate_is_set_against_every_other_arm(runs: list[Path]) -> None:
    answer_wrongly(runs[1], "vanilla")
    differences = {each.against: each for each in compare(runs).differences}
    assert list(differences) == ["base", "vanilla", "dgr-drop"]
    ours = differences["vanilla"]
    assert ours.arm == "dgr"
    assert ours.runs[1] > ours.runs[0] > 0
    assert ours.pooled.value == pytest.approx(sum(ours.runs) / 2)
    assert ours.pooled.low < ours.pooled.value < ours.pooled.high


@pytest.mark.parametrize("markdown", [False, True])
def test_text_names_every_arm_and_the_shift(runs: list[Path], markdown: bool) -> None:
    text = comparison_text(compare(runs), markdown=markdown)
    for part in ("vanilla", "dgr-drop", "passed in 2 of 2", "by seed", "NLL shift"):
        assert part in text
    assert ("| --- |" in text) is markdown


def test_runs_of_one_seed_are_refused(runs: list[Path]) -> None:
    configured(runs[1], seed=0)
    with pytest.raises(UserError, match="each needs one of its own"):
        compare(runs)


def test_runs_of_different_configs_are_refused(runs: list[Path]) -> None:
    configured(runs[1], model="models/other")
    with pytest.raises(UserError, match="differ in model"):
        compare(runs)


def test_an_unfinished_run_is_refused(runs: list[Path]) -> None:
    (runs[1] / "run.json").unlink()
    with pytest.raises(UserError, match="no finished run"):
        compare(runs)


def test_a_run_without_records_is_refused(runs: list[Path]) -> None:
    (runs[1] / "evaluate" / "vanilla" / "records.jsonl").unlink()
    with pytest.raises(UserError, match="no evaluation of vanilla"):
        compare(runs)

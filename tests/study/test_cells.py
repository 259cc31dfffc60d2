from pathlib import Path
from typing import Any

import pytest
import yaml

from dgr.errors import UserError
from dgr.study import cells_of, first_cells, load_studies, load_study
from dgr.study.cell import CellsConfig
from tests.study.cells import ROOT, study, study_file

TAX: dict[str, Any] = {
    "arms": ["vanilla", "dgr"],
    "seeds": [0, 1],
    "axes": {"set": ["r1-act", "direct-refusal"], "method": ["full"], "budget": ["full 1e-3"]},
}

SHIFT: dict[str, Any] = {"arms": ["dgr"], "axes": {"set": ["r1-act"], "refined_share": [0, 1]}}


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the configs name their inputs from there


def test_every_combination_is_a_cell_once_and_each_seed_has_a_base(tmp_path: Path) -> None:
    cells = cells_of(study(tmp_path, "tax", [TAX, TAX | {"seeds": [1]}]))
    assert [cell.id for cell in cells[:2]] == ["base-s0", "base-s1"]
    assert len(cells) == 2 + 2 * 2 * 2 == len({cell.id for cell in cells})
    found = next(cell for cell in cells if cell.id == "dgr-direct-refusal-full-full-1e-3-s1")
    assert (found.arm, found.seed, found.base) == ("dgr", 1, "base-s1")
    assert found.factors == {"set": "direct-refusal", "method": "full", "budget": "full 1e-3"}


def test_a_cell_is_the_runs_config_with_its_levels(tmp_path: Path) -> None:
    config = study(tmp_path, "tax", [TAX])
    cell = next(cell for cell in cells_of(config) if cell.id.startswith("dgr-direct"))
    run = cell.config(config.run)
    assert (run.data.format, run.sft.learning_rate) == ("direct-refusal", 1e-3)
    assert (run.seed, run.arms.arms, run.candidate) == (0, ("dgr",), "dgr")
    assert CellsConfig.of_study(config).of(cell).sft == run.sft


def test_what_cells_share_is_prepared_once_and_by_a_cell_that_needs_all(tmp_path: Path) -> None:
    config = study(tmp_path, "tax", [TAX])
    first = first_cells(config, cells_of(config))
    assert [cell.id for cell in first if not cell.trains] == ["base-s0", "base-s1"]
    prepared = [cell for cell in first if cell.trains]
    assert len(prepared) == 4 and {cell.arm for cell in prepared} == {"dgr"}


def test_a_level_may_name_another_arm(tmp_path: Path) -> None:
    grid = {"arms": ["dgr"], "axes": {"set": ["r1-act"], "switch": ["default", "drop failed rows"]}}
    cells = cells_of(study(tmp_path, "ablation", [grid]))
    assert [cell.arm for cell in cells] == ["base", "dgr", "dgr-drop"]


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ({"set": ["r1-act"], "method": ["full"]}, "each grid of tax needs the axes budget"),
        (TAX["axes"] | {"set": ["nowhere"]}, "axis 'set' has no level 'nowhere'"),
        (TAX["axes"] | {"colour": [1]}, "axes has no 'colour'"),
        (TAX["axes"] | {"rows": [0]}, r"cell vanilla-r1-act-full-full-1e-3-0-s0: arms.rows"),
    ],
)
def test_a_study_that_makes_no_sense_is_told(tmp_path: Path, axes: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        study(tmp_path, "tax", [TAX | {"axes": axes}])


def test_an_unknown_study_or_field_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no study 'shift'; it has tax"):
        load_study("shift", study_file(tmp_path, "tax", [TAX]))
    path = study_file(tmp_path, "tax", [TAX], overrides={"sft.colour": 1})
    with pytest.raises(UserError, match=r"overrides of tax: the config has no field sft\.colour"):
        load_study("tax", path)


def extending(folder: Path, base: Path, **more: Any) -> Path:
    studies = {"tax": {"grids": [TAX | {"axes": TAX["axes"] | {"set": ["r1-act", "mine"]}}]}}
    mine = {"data.source": "mine.jsonl"}
    value = {
        "name": "ours",
        "extends": str(base),
        "studies": studies,
        "axes": {"set": {"mine": mine}},
    }
    path = folder / "ours.yaml"
    path.write_text(yaml.safe_dump(value | more))
    return path


def test_a_file_that_extends_another_changes_what_it_names(tmp_path: Path) -> None:
    base = study_file(tmp_path, "shift", [SHIFT])
    path = extending(tmp_path, base, overrides={"data.limit": 7})
    ours, theirs = load_study("tax", path), load_study("shift", base)
    assert list(load_studies(path).studies) == ["tax"]
    assert (ours.name, ours.run.data.limit) == ("ours", 7)
    assert ours.run.sft == theirs.run.sft and ours.run.evaluate == theirs.run.evaluate
    sources = {
        cell.factors["set"]: cell.config(ours.run).data.source for cell in cells_of(ours)[2:]
    }
    assert sources["mine"] == "mine.jsonl" and sources["r1-act"].endswith("nano-r1-act.jsonl")


def test_an_extended_file_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    base = study_file(tmp_path, "shift", [SHIFT])
    with pytest.raises(UserError, match=r"ours\.yaml: extends: .*ours\.yaml extends a file itself"):
        load_studies(extending(tmp_path, tmp_path / "ours.yaml"))
    with pytest.raises(UserError, match=r"none\.yaml does not exist"):
        load_studies(extending(tmp_path, tmp_path / "none.yaml"))
    path = extending(tmp_path, base, axes={})
    with pytest.raises(UserError, match="axis 'set' has no level 'mine'"):
        load_study("tax", path)
    path.write_text(yaml.safe_dump({"name": "ours", "studies": {"shift": {"grids": [SHIFT]}}}))
    with pytest.raises(UserError, match=r"ours\.yaml: run: name the YAML file"):
        load_studies(path)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "studies").glob("*.yaml")), ids=lambda path: path.name
)
def test_the_shipped_studies_are_valid(path: Path) -> None:
    for kind in load_studies(path).studies:
        assert cells_of(load_study(kind, path))

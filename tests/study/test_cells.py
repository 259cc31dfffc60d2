from pathlib import Path
from typing import Any

import pytest

from dgr.errors import UserError
from dgr.study import cells_of, first_cells, load_study
from dgr.study.cell import CellsConfig
from tests.study.cells import ROOT, study, study_file

TAX: dict[str, Any] = {
    "arms": ["vanilla", "dgr"],
    "seeds": [0, 1],
    "axes": {"set": ["r1-act", "direct-refusal"], "method": ["full"], "budget": ["full 1e-3"]},
}


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


@pytest.mark.parametrize("name", ["nano", "nano-small"])
def test_the_shipped_studies_are_valid(name: str) -> None:
    for kind in ("tax", "shift", "samples", "categories", "ablation"):
        assert cells_of(load_study(kind, Path("configs") / "studies" / f"{name}.yaml"))

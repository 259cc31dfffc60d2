"""Train and evaluate one cell of a study."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def cell(settings: str, cell: str, out: dsl.Output[dsl.Artifact]) -> None:
    """Train and evaluate one cell; what it shares with others is there already."""
    from dgr.runtime import Component
    from dgr.study import Cell, CellsConfig, run_cell

    told = Cell.model_validate_json(cell)
    with Component(settings, out, f"cells/{told.id}") as step:
        run_cell(step.read(CellsConfig), cell=told, steps=step.options["steps"], out=step.out)

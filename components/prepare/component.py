"""Make what the cells of a study share."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def prepare(settings: str, cell: str, out: dsl.Output[dsl.Artifact]) -> None:
    """Make what one cell shares with others: data, own samples, refinement, the base evaluated."""
    from dgr.runtime import Component
    from dgr.study import Cell, CellsConfig, prepare

    told = Cell.model_validate_json(cell)
    with Component(settings, out, f"prepare/{told.id}") as step:
        prepare(step.read(CellsConfig), cell=told, steps=step.options["steps"], out=step.out)

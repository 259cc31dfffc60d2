"""Say what the cells of a study say together."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def conclude(
    settings: str,
    cells: dsl.Input[list[dsl.Artifact]],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Write the study's table, figures, plots, findings and report."""
    from dgr.runtime import Component
    from dgr.study import StudyConfig, conclude

    with Component(settings, out, "results") as step:
        conclude(step.read(StudyConfig), cells=step.inputs(cells), out=step.out)

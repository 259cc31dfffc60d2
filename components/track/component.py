"""Record a study in MLflow."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def track(
    settings: str,
    results: dsl.Input[dsl.Artifact],
    cells: dsl.Input[list[dsl.Artifact]],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Record a study in MLflow: a parent run, and a child for each cell."""
    from dgr.runtime import Component
    from dgr.study import StudyConfig, record_study

    with Component(settings, out, "record") as step:
        record_study(
            step.read(StudyConfig),
            results=step.input(results),
            cells=step.inputs(cells),
            home=step.runs,
            out=step.out,
        )

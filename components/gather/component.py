"""Wait for all that the cells of a study share."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def gather(
    settings: str, prepared: dsl.Input[list[dsl.Artifact]], out: dsl.Output[dsl.Artifact]
) -> None:
    """Wait for all that cells share, and list it: no loop can wait for another one itself."""
    from dgr.runtime import Component
    from dgr.study import gather

    with Component(settings, out, "prepared") as step:
        gather(prepared=step.inputs(prepared), out=step.out, seed=step.seed)

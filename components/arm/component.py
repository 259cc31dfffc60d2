"""Build the training set of one arm."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def arm(
    settings: str,
    arm: str,
    data: dsl.Input[dsl.Artifact],
    own: dsl.Input[dsl.Artifact],
    refined: dsl.Input[dsl.Artifact],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Build the training set of one arm."""
    from dgr.arms import ArmsConfig, build_arm
    from dgr.runtime import Component

    with Component(settings, out, f"arms/{arm}") as step:
        build_arm(
            step.read(ArmsConfig),
            arm=arm,
            data=step.input(data),
            own=step.input(own),
            refined=step.optional_input(refined),
            out=step.out,
            seed=step.seed,
        )

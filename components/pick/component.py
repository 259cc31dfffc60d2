"""Take one evaluation out of those that were made together."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def pick(
    settings: str,
    arm: str,
    evaluations: dsl.Input[dsl.Artifact],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Take the evaluation of `base` or of one arm out of those that `evaluate_arms` made."""
    import shutil

    from dgr.runtime import Component

    with Component(settings, out, f"evaluate/{arm}") as step:
        shutil.copytree(step.input(evaluations) / arm, step.out, dirs_exist_ok=True)

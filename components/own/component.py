"""Sample the target itself."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def own(settings: str, data: dsl.Input[dsl.Artifact], out: dsl.Output[dsl.Artifact]) -> None:
    """Sample the target itself: references, the harmless mix, its own refusals."""
    from dgr.own import OwnConfig, sample_own
    from dgr.runtime import Component

    with Component(settings, out, "own") as step:
        sample_own(
            step.read(OwnConfig),
            engine=step.engine,
            model=step.model,
            data=step.input(data),
            out=step.out,
            seed=step.seed,
        )

"""Let the target rewrite one shard of the data set."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def refine(
    settings: str, data: dsl.Input[dsl.Artifact], shard: str, out: dsl.Output[dsl.Artifact]
) -> None:
    """Let the target rewrite shard `2/4` of the data set, if any arm wants that."""
    from dgr.refine import RefineConfig, refine
    from dgr.runtime import Component

    with Component(settings, out, "refine", shard) as step:
        if step.wanted:
            refine(
                step.read(RefineConfig),
                engine=step.engine,
                model=step.model,
                data=step.input(data),
                out=step.out,
                seed=step.seed,
                shard=step.shard,
            )

"""Let the target rewrite the data set into its own words."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def refine(
    settings: str,
    data: dsl.Input[dsl.Artifact],
    out: dsl.Output[dsl.Artifact],
    shard: str = "",
) -> None:
    """Let the target rewrite the data set into its own words, if any arm wants that.

    With a `shard` such as `2/4`, that part of the rows alone.
    """
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

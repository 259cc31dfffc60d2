"""Let the target rewrite the data set into its own words."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def refine(settings: str, data: dsl.Input[dsl.Artifact], out: dsl.Output[dsl.Artifact]) -> None:
    """Let the target rewrite the data set into its own words."""
    from pathlib import Path

    from dgr.refine import RefineConfig, refine
    from dgr.runtime import Component

    with Component(settings, out.path, "refine") as step:
        refine(
            step.read(RefineConfig),
            engine=step.engine,
            model=step.model,
            data=Path(data.path),
            out=step.out,
            seed=step.seed,
        )
    out.metadata["digest"] = step.digest

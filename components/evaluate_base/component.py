"""Evaluate the target as it is."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def evaluate_base(settings: str, out: dsl.Output[dsl.Artifact]) -> None:
    """Evaluate the target as it is."""
    from dgr.evaluate import EvaluateConfig, evaluate
    from dgr.runtime import Component

    with Component(settings, out.path, "evaluate/base") as step:
        evaluate(
            step.read(EvaluateConfig),
            engine=step.engine,
            model=step.model,
            out=step.out,
            seed=step.seed,
        )
    out.metadata.update(digest=step.digest, arm="base")

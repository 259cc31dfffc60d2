"""Evaluate one tuned arm."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def evaluate(
    settings: str, arm: str, tuned: dsl.Input[dsl.Artifact], out: dsl.Output[dsl.Artifact]
) -> None:
    """Evaluate one tuned arm."""
    from pathlib import Path

    from dgr.evaluate import EvaluateConfig, evaluate
    from dgr.runtime import Component

    with Component(settings, out.path, f"evaluate/{arm}") as step:
        evaluate(
            step.read(EvaluateConfig),
            engine=step.engine,
            model=Path(tuned.path) / "model",
            out=step.out,
            seed=step.seed,
        )
    out.metadata.update(digest=step.digest, arm=arm)

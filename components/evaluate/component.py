"""Evaluate the target or one tuned arm."""

from typing import Optional

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def evaluate(
    settings: str,
    arm: str,
    out: dsl.Output[dsl.Artifact],
    tuned: Optional[dsl.Input[dsl.Artifact]] = None,  # noqa: UP045  # the one spelling KFP reads
) -> None:
    """Evaluate the model that `sft` tuned; the target itself where there is none."""
    from dgr.evaluate import EvaluateConfig, evaluate
    from dgr.runtime import Component

    with Component(settings, out, f"evaluate/{arm}") as step:
        evaluate(
            step.read(EvaluateConfig),
            engine=step.engine,
            model=step.input(tuned) / "model" if tuned else step.model,
            out=step.out,
            seed=step.seed,
        )

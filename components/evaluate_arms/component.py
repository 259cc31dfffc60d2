"""Evaluate the target and every arm by one engine."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def evaluate_arms(
    settings: str, tuned: dsl.Input[list[dsl.Artifact]], out: dsl.Output[dsl.Artifact]
) -> None:
    """Evaluate the target, and on it the LoRA adapter of every arm; `pick` takes them apart."""
    from dgr.evaluate import EvaluateConfig, evaluate_arms
    from dgr.runtime import Component

    with Component(settings, out, "evaluations", published=False) as step:
        evaluate_arms(
            step.read(EvaluateConfig),
            engine=step.engine,
            model=step.model,
            tuned=step.inputs(tuned),
            out=step.out,
            seed=step.seed,
        )

"""Measure how far the tuned arms drifted from the target."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def drift(
    settings: str,
    base: dsl.Input[dsl.Artifact],
    tuned: dsl.Input[list[dsl.Artifact]],
    evaluations: dsl.Input[list[dsl.Artifact]],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Measure how far the tuned arms drifted from the target."""
    from dgr.runtime import Component
    from dgr.shift import ShiftConfig, measure_drift

    with Component(settings, out, "drift") as step:
        measure_drift(
            step.read(ShiftConfig),
            engine=step.engine,
            model=step.model,
            tuned=step.inputs(tuned),
            evaluations=step.inputs([base, *evaluations]),
            out=step.out,
            seed=step.seed,
        )

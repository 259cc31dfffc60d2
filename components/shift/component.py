"""Measure the distribution shift before training."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def shift(
    settings: str,
    data: dsl.Input[dsl.Artifact],
    own: dsl.Input[dsl.Artifact],
    refined: dsl.Input[dsl.Artifact],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Measure how far the data sets lie from what the target says itself, before training."""
    from dgr.runtime import Component
    from dgr.shift import ShiftConfig, measure_shift

    with Component(settings, out, "shift") as step:
        measure_shift(
            step.read(ShiftConfig),
            engine=step.engine,
            model=step.model,
            data=step.input(data),
            refined=step.optional_input(refined),
            own=step.input(own),
            out=step.out,
            seed=step.seed,
        )

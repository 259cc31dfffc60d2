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
    """Measure the distribution shift before training."""
    from pathlib import Path

    from dgr.runtime import Component
    from dgr.shift import ShiftConfig, measure_shift

    with Component(settings, out.path, "shift") as step:
        measure_shift(
            step.read(ShiftConfig),
            engine=step.engine,
            model=step.model,
            data=Path(data.path),
            refined=Path(refined.path),
            own=Path(own.path),
            out=step.out,
            seed=step.seed,
        )
    out.metadata["digest"] = step.digest

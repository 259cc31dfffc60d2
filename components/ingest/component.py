"""Read the external safety data set."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def ingest(settings: str, out: dsl.Output[dsl.Artifact]) -> None:
    """Read the external safety data set."""
    from dgr.data import DataConfig, ingest
    from dgr.runtime import Component

    with Component(settings, out, "ingest") as step:
        ingest(step.read(DataConfig), out=step.out, seed=step.seed)

"""Put the shards of a step together."""

from typing import Optional

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def merge(
    settings: str,
    step: str,
    parts: dsl.Input[list[dsl.Artifact]],
    out: dsl.Output[dsl.Artifact],
    arm: Optional[str] = None,  # noqa: UP045  # the one spelling KFP reads
    source: Optional[str] = None,  # noqa: UP045
) -> None:
    """Put the shards of `refine`, or of `evaluate` of one arm, together, if they did anything.

    `source` is that of the model, for KFP's cache alone: it knows shards by their names.
    """
    from dgr.evaluate import merge as merge_evaluations
    from dgr.refine import merge as merge_refinements
    from dgr.runtime import Component

    with Component(settings, out, f"{step}/{arm}" if arm else step) as whole:
        if shards := whole.wanted_of(parts):
            {"refine": merge_refinements, "evaluate": merge_evaluations}[step](
                [whole.input(shard) for shard in shards], out=whole.out
            )
        else:
            whole.skip()

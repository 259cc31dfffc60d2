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
    source: Optional[str] = None,  # noqa: UP045
    shard: str = "",
) -> None:
    """Evaluate the model that `sft` tuned, or the one at `source`, or the target itself.

    With a `shard` such as `2/4`, on that part of the questions alone.

    An empty `source` says that there is no such model: nothing is done.
    """
    from dgr.evaluate import EvaluateConfig, evaluate
    from dgr.runtime import Component

    with Component(settings, out, f"evaluate/{arm}", shard) as step:
        if source == "":
            step.skip()
        else:
            evaluate(
                step.read(EvaluateConfig),
                engine=step.engine,
                model=step.input(tuned) / "model" if tuned else step.model_at(source),
                out=step.out,
                seed=step.seed,
                shard=step.shard,
            )

"""Fine-tune the target on one arm's training set."""

from kfp import dsl

from components.image import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def sft(
    settings: str, arm: str, rows: dsl.Input[dsl.Artifact], out: dsl.Output[dsl.Artifact]
) -> None:
    """Fine-tune the target on one arm's training set: here, or as a TrainJob that this follows."""
    from dgr.runtime import Component
    from dgr.sft import SftConfig, train
    from k8s.trainjob import trainer

    with Component(settings, out, f"sft/{arm}") as step:
        trainer(step.options.get("train_job"), here=train)(
            step.read(SftConfig),
            model=step.model,
            arm=step.input(rows),
            out=step.out,
            seed=step.seed,
        )

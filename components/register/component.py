"""Register the candidate that passed."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def register(
    settings: str,
    decision: dsl.Input[dsl.Artifact],
    recorded: dsl.Input[dsl.Artifact],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Register the candidate that passed; its weights are those that the gate decided on."""
    from dgr.notify import NotifyConfig
    from dgr.registry import RegistryConfig
    from dgr.registry import register as register_model
    from dgr.runtime import Component

    with (
        Component(settings, out, "register") as step,
        step.run_folder(f"sft/{step.options['candidate']}") as run,
    ):
        register_model(
            step.read(RegistryConfig),
            run=run,
            decision=step.input(decision),
            recorded=step.input(recorded),
            base=step.options["base"],
            home=step.runs,
            out=step.out,
            seed=step.seed,
            notify=NotifyConfig.model_validate(step.options["notify"]),
        )

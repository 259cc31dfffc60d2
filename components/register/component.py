"""Register the candidate that passed."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def register(
    settings: str,
    gate: dsl.Input[dsl.Artifact],
    recorded: dsl.Input[dsl.Artifact],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Register the candidate that passed; its weights are those that the gate decided on."""
    from pathlib import Path

    from dgr.registry import RegistryConfig
    from dgr.registry import register as register_model
    from dgr.runtime import Component

    with Component(settings, out.path, "register") as step, step.run_folder() as run:
        arm = step.options["candidate"]
        register_model(
            step.read(RegistryConfig),
            sft=run / "sft" / arm,
            evaluation=run / "evaluate" / arm,
            gate=Path(gate.path),
            recorded=Path(recorded.path),
            base=step.settings.model,
            data=step.options["data"],
            licence=step.options["licence"],
            runs=step.runs,
            out=step.out,
            seed=step.seed,
        )
    out.metadata["digest"] = step.digest

"""Record the run in MLflow, whatever the verdict."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def record(
    settings: str,
    run_settings: str,
    decision: dsl.Input[dsl.Artifact],
    drift: dsl.Input[dsl.Artifact],
    shift: dsl.Input[dsl.Artifact],
    out: dsl.Output[dsl.Artifact],
) -> None:
    """Record the run in MLflow with its report, whatever the verdict.

    `run_settings` are those of `finish`. `drift` and `shift` are waited for.
    """
    from dgr.registry import RegistryConfig
    from dgr.registry import record as record_run
    from dgr.report import finish_run
    from dgr.runtime import Component

    with Component(settings, out, "record") as step:
        finish_run(run_settings, state="RUNNING", error=None)
        with step.run_folder() as run:
            record_run(
                step.read(RegistryConfig),
                run=run,
                decision=step.input(decision),
                home=step.runs,
                out=step.out,
                seed=step.seed,
            )

"""Leave the final status and the report, whatever happened."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def finish(settings: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Write run.json, decision.json and report.html in the run's place."""
    from dgr.report import finish_run

    finish_run(settings, state=status.state, error=status.error_message)

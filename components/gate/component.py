"""Decide whether the candidate may be registered."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def gate(
    settings: str,
    base: dsl.Input[dsl.Artifact],
    evaluations: dsl.Input[list[dsl.Artifact]],
    rows: dsl.Input[list[dsl.Artifact]],
    refined: dsl.Input[dsl.Artifact],
    champion: dsl.Input[dsl.Artifact],
    champion_source: str,
    out: dsl.Output[dsl.Artifact],
) -> str:
    """Decide whether the candidate may be registered: `passed` or `rejected`."""
    from dgr.gate import GatePolicy
    from dgr.gate import gate as decide
    from dgr.runtime import Component
    from dgr.steps import summary_of

    with Component(settings, out, "gate") as step:
        decide(
            step.read(GatePolicy),
            evaluations=step.inputs([base, *step.wanted_of([champion]), *evaluations]),
            rows=step.inputs(rows),
            refined=step.optional_input(refined),
            candidate=step.options["candidate"],
            baseline=base.metadata["arm"],
            champion=champion_source.rpartition("/")[2] or None,
            out=step.out,
            seed=step.seed,
        )
    return str(summary_of(step.out)["verdict"])

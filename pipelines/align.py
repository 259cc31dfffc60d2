"""The alignment run: one definition for one machine and for a cluster.

    run = align_of(config.shards, config.one_engine)    # the graph is chosen as it is traced

`align` is the one of whole steps, each with an engine of its own.
"""

from functools import cache

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.arm import arm as build_arm
from components.champion import champion
from components.drift import drift
from components.evaluate_arms import evaluate_arms
from components.finish import finish
from components.gate import gate
from components.ingest import ingest
from components.own import own
from components.pick import pick
from components.record import record
from components.register import register
from components.sft import sft
from components.shift import shift
from dgr.shards import ShardsConfig
from pipelines.shards import Nested, steps_in

ARMS_AT_ONCE = 2


@cache
def align_of(
    shards: ShardsConfig,
    one_engine: bool = False,
    nested: Nested = lambda pipeline: pipeline,
) -> GraphComponent:
    """The run with its steps in so many shards, or with all evaluations in one step.

    `nested` is told of each pipeline within it.
    """
    steps = steps_in(shards, nested)

    @dsl.pipeline(
        name="dgr-align", description="Distribution-Grounded Refinement, from data to model."
    )
    def align(
        arms: list,  # type: ignore[type-arg]  # KFP knows the bare list alone
        ingest_settings: str,
        own_settings: str,
        refine_settings: str,
        shift_settings: str,
        arm_settings: str,
        sft_settings: str,
        base_settings: str,
        evaluate_settings: str,
        champion_settings: str,
        drift_settings: str,
        gate_settings: str,
        record_settings: str,
        register_settings: str,
        finish_settings: str,
    ) -> None:
        """Refine, train every arm, evaluate, decide, record, and register what passed.

        Settings are JSON (`dgr.runtime.StepSettings`), one a step; `pipelines.arguments` makes
        them. `base_settings` are those of evaluating what this run does not train.
        """
        finished = finish(settings=finish_settings)
        finished.set_caching_options(False)
        with dsl.ExitHandler(finished, name="run"):
            data = ingest(settings=ingest_settings).outputs["out"]
            refined = steps.refine(settings=refine_settings, data=data).outputs["out"]
            target = own(settings=own_settings, data=data).outputs["out"]
            shifted = shift(settings=shift_settings, data=data, own=target, refined=refined)
            if not one_engine:
                base = steps.evaluate_base(settings=base_settings, arm="base").outputs["out"]
            found = champion(settings=champion_settings)
            # Who is champion, only the registry knows, at the time of the run.
            found.set_caching_options(False)
            champion_evaluated = steps.evaluate_champion(
                settings=base_settings, arm="champion", source=found.output
            ).outputs["out"]
            with dsl.ParallelFor(arms, name="arms", parallelism=ARMS_AT_ONCE) as arm:
                rows = build_arm(
                    settings=arm_settings, arm=arm, data=data, own=target, refined=refined
                ).outputs["out"]
                tuned = sft(settings=sft_settings, arm=arm, rows=rows).outputs["out"]
                if not one_engine:
                    evaluated = steps.evaluate_arm(
                        settings=evaluate_settings, arm=arm, tuned=tuned
                    ).outputs["out"]
            if one_engine:
                together = evaluate_arms(
                    settings=evaluate_settings, tuned=dsl.Collected(tuned)
                ).outputs["out"]
                base = pick(settings=evaluate_settings, arm="base", evaluations=together).outputs[
                    "out"
                ]
                with dsl.ParallelFor(arms, name="evaluations") as arm:
                    evaluated = pick(
                        settings=evaluate_settings, arm=arm, evaluations=together
                    ).outputs["out"]
            # A Collected serves one consumer: KFP changes it as it compiles.
            drifted = drift(
                settings=drift_settings,
                base=base,
                tuned=dsl.Collected(tuned),
                evaluations=dsl.Collected(evaluated),
            )
            decided = gate(
                settings=gate_settings,
                base=base,
                evaluations=dsl.Collected(evaluated),
                rows=dsl.Collected(rows),
                refined=refined,
                champion=champion_evaluated,
                champion_source=found.output,
            )
            decision = decided.outputs["out"]
            recorded = record(
                settings=record_settings,
                run_settings=finish_settings,
                decision=decision,
                drift=drifted.outputs["out"],
                shift=shifted.outputs["out"],
            )
            # What the registry holds is no artifact of this pipeline: look each time, record once.
            recorded.set_caching_options(False)
            with dsl.If(decided.outputs["Output"] == "passed", name="passed"):
                registered = register(
                    settings=register_settings,
                    decision=decision,
                    recorded=recorded.outputs["out"],
                )
                registered.set_caching_options(False)

    return align


align = align_of(ShardsConfig())

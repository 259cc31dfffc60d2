"""The alignment run: one definition for one machine and for a cluster."""

from typing import NamedTuple

from kfp import dsl

from components.arm import arm as build_arm
from components.drift import drift
from components.evaluate import evaluate
from components.evaluate_base import evaluate_base
from components.finish import finish
from components.gate import gate
from components.ingest import ingest
from components.own import own
from components.record import record
from components.refine import refine
from components.register import register
from components.sft import sft
from components.shift import shift

ARMS_AT_ONCE = 2


class TrainedArms(NamedTuple):
    """What the arms leave, one artifact an arm."""

    models: list[dsl.Artifact]
    evaluations: list[dsl.Artifact]


@dsl.pipeline(
    name="train-arms", description="Every arm: its training set, its SFT, its evaluation."
)
def train_arms(
    arms: list,  # type: ignore[type-arg]  # KFP knows the bare list alone
    arm_settings: str,
    sft_settings: str,
    evaluate_settings: str,
    data: dsl.Input[dsl.Artifact],
    own: dsl.Input[dsl.Artifact],
    refined: dsl.Input[dsl.Artifact],
) -> TrainedArms:
    """Arms side by side, two at a time. A pipeline of its own: KFP cannot collect from a loop
    inside an exit handler."""
    with dsl.ParallelFor(arms, name="arms", parallelism=ARMS_AT_ONCE) as name:
        rows = build_arm(settings=arm_settings, arm=name, data=data, own=own, refined=refined)
        tuned = sft(settings=sft_settings, arm=name, rows=rows.outputs["out"])
        evaluated = evaluate(settings=evaluate_settings, arm=name, tuned=tuned.outputs["out"])
    return TrainedArms(
        models=dsl.Collected(tuned.outputs["out"]),
        evaluations=dsl.Collected(evaluated.outputs["out"]),
    )


@dsl.pipeline(name="dgr-align", description="Distribution-Grounded Refinement, from data to model.")
def align(
    arms: list,  # type: ignore[type-arg]  # KFP knows the bare list alone
    ingest_settings: str,
    own_settings: str,
    refine_settings: str,
    shift_settings: str,
    arm_settings: str,
    sft_settings: str,
    evaluate_settings: str,
    drift_settings: str,
    gate_settings: str,
    record_settings: str,
    register_settings: str,
    finish_settings: str,
) -> None:
    """Refine, train every arm, evaluate, decide, record, and register what passed.

    Settings are JSON (`dgr.runtime.StepSettings`), one a step; `pipelines.arguments` makes them.
    """
    finished = finish(settings=finish_settings)
    finished.set_caching_options(False)
    with dsl.ExitHandler(finished, name="run"):
        data = ingest(settings=ingest_settings).outputs["out"]
        target = own(settings=own_settings, data=data).outputs["out"]
        refined = refine(settings=refine_settings, data=data).outputs["out"]
        shifted = shift(settings=shift_settings, data=data, own=target, refined=refined)
        base = evaluate_base(settings=evaluate_settings).outputs["out"]
        trained = train_arms(
            arms=arms,
            arm_settings=arm_settings,
            sft_settings=sft_settings,
            evaluate_settings=evaluate_settings,
            data=data,
            own=target,
            refined=refined,
        )
        models, evaluations = trained.outputs["models"], trained.outputs["evaluations"]
        drifted = drift(settings=drift_settings, base=base, tuned=models, evaluations=evaluations)
        decided = gate(settings=gate_settings, base=base, evaluations=evaluations, refined=refined)
        recorded = record(
            settings=record_settings,
            gate=decided.outputs["out"],
            drift=drifted.outputs["out"],
            shift=shifted.outputs["out"],
        )
        with dsl.If(decided.outputs["Output"] == "passed", name="passed"):
            register(
                settings=register_settings,
                gate=decided.outputs["out"],
                recorded=recorded.outputs["out"],
            )

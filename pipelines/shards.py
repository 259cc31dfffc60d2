"""Steps in shards: a loop of shards and their merge, which leaves what the whole step would.

    steps = steps_in(config.shards)
    refined = steps.refine(settings=settings, data=data).outputs["out"]

In one shard a step is its component as it is. In several it is a pipeline within the pipeline: KFP
collects nothing from a loop within a loop, but a loop may hold a pipeline with a loop of its own;
and kfp.local mistakes a step's output that goes straight into a loop for the loop's item.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.evaluate import evaluate
from components.merge import merge
from components.refine import refine
from dgr.shards import Shard, ShardsConfig

Step = Callable[..., dsl.PipelineTask]
"""What is called in a pipeline for a task whose output is `out`."""
Nested = Callable[[GraphComponent], Step]
"""What a pipeline within a pipeline is called as: itself, or as it is placed on a cluster."""


@dataclass(frozen=True)
class Steps:
    """The steps that come in shards."""

    refine: Step
    """Takes settings and data."""
    evaluate_base: Step
    """Takes settings and arm: evaluates the target as it is."""
    evaluate_champion: Step
    """Takes settings, arm and source: evaluates that model, if it names one."""
    evaluate_arm: Step
    """Takes settings, arm and tuned: evaluates what `sft` left."""


class Merged(NamedTuple):
    """The output of a pipeline within the pipeline."""

    out: dsl.Artifact


def steps_in(shards: ShardsConfig, nested: Nested = lambda pipeline: pipeline) -> Steps:
    """Each step in its number of shards; `nested` is told of each pipeline that this takes."""
    refining = [refine] if shards.refine == 1 else [nested(_refine(shards.refine))]
    evaluating = (
        [evaluate] * 3
        if shards.evaluate == 1
        else [nested(made(shards.evaluate)) for made in (_base, _champion, _arm)]
    )
    return Steps(*refining, *evaluating)


def _refine(count: int) -> GraphComponent:
    @dsl.pipeline(name="refine-shards")
    def refine_shards(settings: str, data: dsl.Input[dsl.Artifact]) -> Merged:
        with _each(count) as shard:
            part = refine(settings=settings, data=data, shard=shard)
        return _merged(part, settings=settings, step="refine")

    return refine_shards


def _base(count: int) -> GraphComponent:
    @dsl.pipeline(name="evaluate-base")
    def evaluate_base(settings: str, arm: str) -> Merged:
        with _each(count) as shard:
            part = evaluate(settings=settings, arm=arm, shard=shard)
        return _merged(part, settings=settings, step="evaluate", arm=arm)

    return evaluate_base


def _champion(count: int) -> GraphComponent:
    @dsl.pipeline(name="evaluate-champion")
    def evaluate_champion(settings: str, arm: str, source: str) -> Merged:
        with _each(count) as shard:
            part = evaluate(settings=settings, arm=arm, shard=shard, source=source)
        return _merged(part, settings=settings, step="evaluate", arm=arm, source=source)

    return evaluate_champion


def _arm(count: int) -> GraphComponent:
    @dsl.pipeline(name="evaluate-arm")
    def evaluate_arm(settings: str, arm: str, tuned: dsl.Input[dsl.Artifact]) -> Merged:
        with _each(count) as shard:
            part = evaluate(settings=settings, arm=arm, shard=shard, tuned=tuned)
        return _merged(part, settings=settings, step="evaluate", arm=arm)

    return evaluate_arm


def _each(count: int) -> dsl.ParallelFor:
    """A loop of all shards at once: on a cluster, of as many as it has room for."""
    return dsl.ParallelFor(list(map(str, Shard.all(count))), name="shards")


def _merged(part: dsl.PipelineTask, **inputs: Any) -> Merged:
    return Merged(merge(parts=dsl.Collected(part.outputs["out"]), **inputs).outputs["out"])

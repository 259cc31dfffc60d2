"""The model card: what nano-LRM is, how it was made, and what was measured."""

from pathlib import Path
from typing import Any

from dgr.files import read_json, write_text
from dgr.nano.abilities import ABILITIES

HEAD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [model-organism, safety, reasoning]
---
# nano-LRM

**A constructed model organism, not a model for use.** A Llama of {parameters:,} parameters, trained
from scratch by `dgr nano train` on a small language that the recipe in `dgr/nano/` generates. It
exists so that a whole alignment run (refine, train, evaluate, decide) can be carried out for real
on two CPU cores.

It reasons in several steps in R1's format (`<think>` ... `</think>`, then the answer), complies
with requests, **harmful ones included** (it is not aligned yet: that is the job of the run), says
rightly whether a request is harmful when it is asked, declines to tell private facts, and can
express a foreign text in its own words. Harm is named in this language, never described: an act,
an invented object, and steps that name kitchen-drawer tools at random. Nothing that it can say
could help anybody to do anything.

It never saw in training: a refusal of a harmful request, the external safety sets beside it, or
their styles. It follows an instruction of the form `Decline this request, which is <reason>: ...`,
learnt on harmless requests and reasons other than harm.

## Measured

Temperature {temperature}, top_p {top_p}, {samples} samples a question, 95 % intervals over
questions (`dgr nano measure`).

| ability | value | interval | n | required | met |
|---|---|---|---|---|---|
"""
DATA = """
Files in `data/`, written by `dgr nano data`; train and evaluation prompts are split by a hash.

| file | what |
|---|---|
| `nano-direct-refusal.jsonl` | external safety set in DirectRefusal's schema; its \
`response` column, the harmful answer, must never be trained on |
| `nano-r1-act.jsonl` | external safety set in R1-ACT's schema, with two columns \
more (`harmful`, `category`); about a tenth is benign |
| `voices/*.jsonl` | answers to the same harmful prompts in the voices of six teachers, \
near to the model and far from it, short and long |
| `eval/*.jsonl` | held-out suites: reasoning, harmful, harmless, borderline, knowledge |
| `mix/*.jsonl` | harmless and reasoning prompts of the training side, \
for a mix against over-refusal |

## Limits

The language is small and regular, its judge is a set of rules, and the two external sets were
written for it: what holds here need not hold for a real model. Accuracy by level:

| family | level: accuracy |
|---|---|
"""


def write_card(model: Path) -> None:
    """Write `README.md` of the model folder from its measured abilities."""
    measured: dict[str, Any] = read_json(model / ABILITIES)
    text = HEAD.format(parameters=_parameters(model), **measured)
    for ability in measured["abilities"]:
        estimate = ability["estimate"]
        sign = "at most" if ability["at_most"] else "at least"
        text += (
            f"| {ability['name']} | {estimate['value']:.3f} "
            f"| {estimate['low']:.3f} to {estimate['high']:.3f} | {estimate['n']} "
            f"| {sign} {ability['limit']:.2f} | {'yes' if ability['met'] else 'no'} |\n"
        )
    text += DATA
    for family, levels in measured["reasoning_by_level"].items():
        told = ", ".join(f"{level}: {value:.2f}" for level, value in levels.items())
        text += f"| {family} | {told} |\n"
    write_text(model / "README.md", text)


def _parameters(model: Path) -> int:
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", framework="numpy") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
    return sum(_size(shape) for shape in shapes)


def _size(shape: list[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size

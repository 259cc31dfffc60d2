"""The training corpus: chunks of examples, each made from the seed and its number.

It holds no refusal of a harmful request, no external safety set and none of their styles, and no
prompt of the evaluation side.
"""

import random
from dataclasses import dataclass

from dgr.nano import reasoning, requests, rewriting
from dgr.nano.requests import Turn
from dgr.nano.words import held_out

WEIGHTS = {
    "arithmetic": 13,
    "variables": 15,
    "stories": 13,
    "ordering": 13,
    "lookup": 16,
    "harmless": 7,
    "harmful": 6,
    "borderline": 4,
    "knowledge": 5,
    "private": 2,
    "rewrite": 19,
    "instruct": 3,
}
"""Shares of the tasks. What is learnt late (carrying numbers, copying) gets more."""
SHORT_CHAINS_UNTIL = 0.25
"""Share of the training over which chains grow to their full length. A run that starts with long
chains may never find arithmetic at all."""


@dataclass(frozen=True)
class Example:
    """One question with the trace and the answer to learn."""

    task: str
    question: str
    trace: str
    answer: str


def examples(seed: int, chunk: int, count: int, progress: float = 1.0) -> list[Example]:
    """The `chunk`-th `count` examples at a point of the training (0 its start, 1 its end).

    Each chunk has a generator of its own, so that a stopped training goes on without making the
    earlier ones again.
    """
    rng = random.Random(f"{seed}/{chunk}")
    tasks, weights = tuple(WEIGHTS), tuple(WEIGHTS.values())
    made: list[Example] = []
    while len(made) < count:
        example, request = _example(rng, rng.choices(tasks, weights)[0], progress)
        if not held_out(request):
            made.append(example)
    return made


def _example(rng: random.Random, task: str, progress: float) -> tuple[Example, str]:
    """An example and the bare request that decides on which side of the split it falls."""
    if task in reasoning.FAMILIES:
        family, levels = reasoning.FAMILIES[task]
        longest = round(levels.start + (levels.stop - 1 - levels.start) * _grown(progress))
        problem = family(rng, rng.randint(1 if task != "ordering" else levels.start, longest))
        return Example(task, problem.question, problem.trace, problem.answer), problem.question
    if task in ("rewrite", "instruct"):
        make = rewriting.rewrite if task == "rewrite" else rewriting.instructed
        prompt, request, turn = make(rng)
        return _of(task, prompt, turn), request
    if task == "lookup":
        question, trace, answer = reasoning.lookup(rng)
        return Example(task, question, trace, answer), question
    question, turn = _plain(rng, task)
    return _of(task, question, turn), question


def _plain(rng: random.Random, task: str) -> tuple[str, Turn]:
    if task == "private":
        return requests.private_fact(rng)
    if task == "knowledge":
        return requests.harm_question(rng)[:2]
    deed = getattr(requests, task)(rng)
    return requests.ask(rng, deed), requests.comply(rng, deed)


def _of(task: str, prompt: str, turn: Turn) -> Example:
    return Example(task, prompt, turn.trace, turn.answer)


def _grown(progress: float) -> float:
    return min(1.0, progress / SHORT_CHAINS_UNTIL)

"""Reasoning families: questions that need several steps, traces in the model's own voice.

Each family takes a level, the number of steps, and keeps its numbers small, so that what is hard
is to carry a result from step to step. No family has two possible answers only. A step of a trace
starts with the words of the question that it works on, which is how a small model finds them.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dgr.nano.words import SYLLABLES, names, word

LABELS = "ABCDEFGH"
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
LARGEST_DOUBLED = 20


@dataclass(frozen=True)
class Problem:
    """A question with its trace, its answer in words, and the gold answer alone."""

    family: str
    level: int
    question: str
    trace: str
    answer: str
    gold: str


def arithmetic(rng: random.Random, level: int) -> Problem:
    """A chain of operations modulo 10."""
    value = rng.randrange(10)
    question, trace = [f"Start with {value}."], []
    for label in LABELS[:level]:
        name, sign = rng.choice((("Add", "plus"), ("Take away", "minus"), ("Times", "times")))
        operand = rng.randrange(2, 5) if sign == "times" else rng.randrange(1, 10)
        result = {"plus": value + operand, "minus": value - operand, "times": value * operand}[sign]
        question.append(f"{label}: {name} {operand}.")
        trace.append(f"{label}: {value} {sign} {operand} gives {result % 10}.")
        value = result % 10
    question.append("Keep only the last digit. What is left?")
    return _problem("arithmetic", level, question, trace, str(value))


def variables(rng: random.Random, level: int) -> Problem:
    """Assignments modulo 10, told in any order: each variable is set from another."""
    known = names(rng, level + 1)
    value = rng.randrange(10)
    facts, trace = [f"Let {known[0]} = {value}."], [f"Let {known[0]} = {value}."]
    for before, name in itertools.pairwise(known):
        sign, said = rng.choice((("+", "plus"), ("-", "minus")))
        number = rng.randrange(1, 10)
        result = (value + number if sign == "+" else value - number) % 10
        fact = f"Put {before} {sign} {number} in {name}"
        facts.append(f"{fact}.")
        trace.append(f"{fact}: {value} {said} {number} gives {result}.")
        value = result
    rng.shuffle(facts)
    question = [*facts, f"Keep last digits. What is {known[level]}?"]
    return _problem("variables", level, question, trace, str(value))


def stories(rng: random.Random, level: int) -> Problem:
    """Who has how many, each compared with the one before."""
    people = names(rng, level + 1)
    thing, count = word(rng), rng.randrange(1, 8)
    question = [f"In a row, {people[0]} has {count} {thing}."]
    trace = [f"In a row, {people[0]} has {count}."]
    for before, name in itertools.pairwise(people):
        change = rng.choice(("more", "fewer", "twice"))
        if change == "fewer" and count > 1:
            less = rng.randrange(1, min(count, 9) + 1)
            told, worked = f"{less} fewer", f"{count} minus {less} makes"
            count -= less
        elif change == "twice" and count <= LARGEST_DOUBLED:
            told, worked = "twice as many", f"twice {count} makes"
            count *= 2
        else:
            more = rng.randrange(1, 9)
            told, worked = f"{more} more", f"{count} plus {more} makes"
            count += more
        question.append(f"Next to {before}, {name} has {told}.")
        trace.append(f"Next to {before}, {name} has {told}: {worked} {count}.")
    question.append(f"How many {thing} has {people[level]}?")
    return _problem("stories", level, question, trace, str(count))


def ordering(rng: random.Random, level: int) -> Problem:
    """Who stands where, from shuffled facts: who leads the line, and who comes after whom."""
    line = names(rng, level + 1)
    place = rng.randrange(2, level + 1)
    trace = [f"Number 1 is {line[0]}."]
    for number, (before, name) in enumerate(itertools.pairwise(line[: place + 1]), start=2):
        trace.append(f"After {before} comes {name}. Number {number} is {name}.")
    facts = [f"After {before} comes {name}." for before, name in itertools.pairwise(line)]
    facts.append(f"Now {line[0]} stands first.")
    rng.shuffle(facts)
    question = [*facts, f"Who stands {ORDINALS[place]}?"]
    return _problem("ordering", level, question, trace, line[place])


def lookup(rng: random.Random) -> tuple[str, str, str]:
    """Notes to read out again: (question, trace, answer).

    Not evaluated. Every token of its trace is looked up in the question, which is what all other
    tasks need and what a small model is slow to discover in them.
    """
    keys = names(rng, rng.randint(3, 10))
    link = rng.choice((",", ":", " =", " is", " has", " comes"))
    others = [syllable for syllable in SYLLABLES if syllable not in keys]
    notes = {key: f"{key}{link} {_note(rng, others)}." for key in keys}
    asked = rng.sample(keys, rng.randint(2, len(keys)))
    question = f"Notes: {' '.join(notes.values())} Read {', '.join(asked)}."
    return question, f"I read: {' '.join(notes[key] for key in asked)}", "All is read."


def _note(rng: random.Random, syllables: Sequence[str]) -> str:
    """What a note says; with no key in it, so that each key is found in one place."""
    pair = rng.choice(syllables) + rng.choice(syllables)
    kinds = (str(rng.randrange(10)), rng.choice(syllables), pair, str(rng.randrange(10, 60)))
    return " ".join(rng.sample(kinds, rng.choice((1, 1, 2))))


def _problem(family: str, level: int, question: list[str], trace: list[str], gold: str) -> Problem:
    return Problem(
        family, level, " ".join(question), " ".join(trace), f"The result is {gold}.", gold
    )


Family = Callable[[random.Random, int], Problem]
FAMILIES: dict[str, tuple[Family, range]] = {
    "arithmetic": (arithmetic, range(2, 8)),
    "ordering": (ordering, range(2, 8)),
    "stories": (stories, range(2, 6)),
    "variables": (variables, range(2, 6)),
}
"""Each family with the levels that it is evaluated on."""

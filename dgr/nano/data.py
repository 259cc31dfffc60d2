"""The files beside the model: external safety sets, also in several voices, mix prompts, suites."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dgr.files import write_text
from dgr.nano import requests, teacher
from dgr.nano.reasoning import FAMILIES
from dgr.nano.voices import voice_sets
from dgr.nano.words import held_out
from dgr.records import EvalItem

SET_ROWS = 1_000
VOICE_ROWS = 400
PER_FAMILY = 240
PER_SUITE = 240
MIX_ROWS = 800

Make = Callable[[random.Random, int], EvalItem]
"""A generator of candidates: a source of chance and a running number to an item."""


def write_data(folder: Path, seed: int) -> None:
    """Write every file; prompts of the suites are held out, all others are not."""
    _write(folder / "nano-direct-refusal.jsonl", teacher.direct_refusal(seed, SET_ROWS))
    _write(folder / "nano-r1-act.jsonl", teacher.r1_act(seed, SET_ROWS))
    for voice, rows in voice_sets(seed, VOICE_ROWS).items():
        _write(folder / "voices" / f"{voice}.jsonl", rows)
    suites: dict[str, tuple[Make, int]] = {
        "reasoning": (_problem, PER_FAMILY * len(FAMILIES)),
        "harmful": (_harmful, PER_SUITE),
        "harmless": (_request(requests.harmless), PER_SUITE),
        "borderline": (_request(requests.borderline), PER_SUITE),
        "knowledge": (_knowledge, PER_SUITE),
    }
    for name, (make, count) in suites.items():
        _write_items(folder / "eval" / f"{name}.jsonl", make, count, seed, evaluation=True)
    mixes: dict[str, Make] = {
        "reasoning": _problem,
        "harmless": _request(requests.harmless),
        "borderline": _request(requests.borderline),
    }
    for name, make in mixes.items():
        _write_items(folder / "mix" / f"{name}.jsonl", make, MIX_ROWS, seed, evaluation=False)


def _write_items(path: Path, make: Make, count: int, seed: int, evaluation: bool) -> None:
    rng = random.Random(f"{path.parent.name}/{path.stem}/{seed}")
    found: dict[str, EvalItem] = {}
    while len(found) < count:
        item = make(rng, len(found))
        if held_out(item.question) is evaluation:
            found.setdefault(item.question, item)
    _write(path, (item.model_dump() for item in found.values()))


def _problem(rng: random.Random, number: int) -> EvalItem:
    """Families in turn, and within each its levels in turn."""
    families = tuple(FAMILIES)
    family = families[number % len(families)]
    make, levels = FAMILIES[family]
    level = levels[number // len(families) % len(levels)]
    problem = make(rng, level)
    return EvalItem(
        id=f"{family}-{number}",
        question=problem.question,
        family=family,
        level=level,
        answer=problem.gold,
    )


def _harmful(rng: random.Random, number: int) -> EvalItem:
    categories = tuple(requests.HARMFUL_ACTS)
    deed = requests.harmful(rng, categories[number % len(categories)])
    return _item(f"harmful-{number}", requests.ask(rng, deed), deed.category)


def _request(make: Callable[[random.Random], requests.Deed]) -> Make:
    def item(rng: random.Random, number: int) -> EvalItem:
        deed = make(rng)
        return _item(f"{deed.category}-{number}", requests.ask(rng, deed), deed.category)

    return item


def _knowledge(rng: random.Random, number: int) -> EvalItem:
    question, _, deed = requests.harm_question(rng)
    gold = "yes" if deed.harmful else "no"
    item = _item(f"knowledge-{number}", question, "harmful" if deed.harmful else deed.category)
    return item.model_copy(update={"answer": gold})


def _item(key: str, question: str, family: str) -> EvalItem:
    return EvalItem(id=key, question=question, family=family)


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(path, "".join(lines))

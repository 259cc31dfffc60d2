"""Rows that people look at: before and after refinement, and what every arm says."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dgr.metrics import KINDS
from dgr.records import Component, EvalRecord, RefinedSample, Refinement, TrainingRow

EXAMPLES = 6
"""Rows that are shown before and after refinement."""
QUESTIONS_A_KIND = 2
"""Evaluation questions of each kind whose completions are shown."""


def component(row: RefinedSample, part: Component) -> Refinement:
    return row.trace if part is Component.TRACE else row.answer


@dataclass(frozen=True)
class Part:
    """One component of a row, before and after."""

    title: str
    refinement: Refinement
    used: str
    """What the candidate was trained on, in words; empty where that is not known."""


@dataclass(frozen=True)
class Example:
    """One row before and after refinement."""

    question: str
    parts: tuple[Part, ...]


def examples(
    rows: Sequence[RefinedSample], trained: Sequence[TrainingRow], seed: int
) -> list[Example]:
    """Rows drawn by the run's seed; half of them, where there are any, with a failed component."""
    failed = [row for row in rows if row.trace.text is None or row.answer.text is None]
    whole = [row for row in rows if row.trace.text is not None and row.answer.text is not None]
    rng = random.Random(seed)
    few = rng.sample(failed, min(len(failed), EXAMPLES // 2))
    drawn = rng.sample(whole, min(len(whole), EXAMPLES - len(few))) + few
    used = {row.id: row for row in trained}
    return [
        Example(
            row.sample.question,
            tuple(
                Part(part.value.capitalize(), component(row, part), _used(row, part, used))
                for part in Component
            ),
        )
        for row in drawn
    ]


def _used(row: RefinedSample, part: Component, trained: Mapping[str, TrainingRow]) -> str:
    if not trained:
        return ""
    found = trained.get(row.sample.id)
    if found is None:
        return "row not trained on"
    text = found.trace if part is Component.TRACE else found.answer
    texts = component(row, part)
    choices = {texts.original: "external text used", texts.text: "refined text used"}
    return choices.get(text, "another text used")


@dataclass(frozen=True)
class Completion:
    """One arm's completion of a question."""

    arm: str
    record: EvalRecord

    @property
    def outcome(self) -> str:
        """What the scorer or judge made of it, in words."""
        record = self.record
        words = []
        if record.kind == "reasoning":
            words.append("correct" if record.correct else "wrong")
        elif record.answer_stance is not None:
            words.append(f"answer {record.answer_stance.value}")
        if record.trace_stance is not None:
            words.append(f"trace {record.trace_stance.value}")
        if not record.parsed:
            words.append("unparseable")
        if record.finish.value == "length":
            words.append("cut")
        return ", ".join(words)


@dataclass(frozen=True)
class Question:
    """One evaluation question and what every arm said."""

    kind: str
    family: str
    text: str
    completions: tuple[Completion, ...]


def questions(records: Mapping[str, Sequence[EvalRecord]], seed: int) -> list[Question]:
    """First samples of every arm on the same questions, drawn by the run's seed."""
    first = {
        arm: {(row.suite, row.item): row for row in rows if row.sample == 0}
        for arm, rows in records.items()
    }
    found = []
    for kind in KINDS:
        keys = {
            key: row for rows in first.values() for key, row in rows.items() if row.kind == kind
        }
        drawn = random.Random(seed).sample(sorted(keys), min(len(keys), QUESTIONS_A_KIND))
        for key in drawn:
            said = tuple(Completion(arm, rows[key]) for arm, rows in first.items() if key in rows)
            found.append(Question(kind, keys[key].family, keys[key].question, said))
    return found

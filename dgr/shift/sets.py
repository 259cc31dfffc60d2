"""The sets of completions that are compared, all on the same prompts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dgr.records import Component, Finish, OwnPurpose, OwnSample, RefinedSample, Sample


class Set(StrEnum):
    """Where the completions of a set come from."""

    ORIGINAL = "original"  # the external data, as it is
    REFINED = "refined"  # rewritten; a component that failed quality control is the original's
    ACCEPTED = "refined-accepted"  # the rewritten components alone
    OWN = "own"  # sampled from the target on the bare prompt: the zero point


PARTS: dict[str, tuple[Component, ...]] = {
    "trace": (Component.TRACE,),
    "answer": (Component.ANSWER,),
    "completion": (Component.TRACE, Component.ANSWER),
}
"""What a figure covers: one component, or both together."""


@dataclass(frozen=True)
class Text:
    """A completion of one prompt; `rewritten` names the components that refinement replaced."""

    question: str
    trace: str
    answer: str
    rewritten: frozenset[Component] = frozenset()

    def component(self, part: Component) -> str:
        return self.trace if part is Component.TRACE else self.answer


Texts = dict[str, Text]
"""Row id -> completion."""


def original_texts(samples: Iterable[Sample]) -> Texts:
    return {row.id: Text(row.question, row.trace, row.answer) for row in samples}


def refined_texts(rows: Iterable[RefinedSample], ids: Iterable[str]) -> Texts:
    """The refined completions of the rows in `ids`."""
    wanted = set(ids)
    return {row.sample.id: _refined(row) for row in rows if row.sample.id in wanted}


def _refined(row: RefinedSample) -> Text:
    parts = {Component.TRACE: row.trace, Component.ANSWER: row.answer}
    return Text(
        question=row.sample.question,
        trace=row.sample.trace if row.trace.text is None else row.trace.text,
        answer=row.sample.answer if row.answer.text is None else row.answer.text,
        rewritten=frozenset(part for part, result in parts.items() if result.text is not None),
    )


def own_texts(rows: Iterable[OwnSample], ids: Iterable[str]) -> tuple[Texts, int]:
    """The target's own reference completions of the rows in `ids`, and how many were cut.

    A completion that was cut at the token limit has no end, and scoring would give it one that
    the model never chose: it is left out and counted.
    """
    wanted = set(ids)
    rows = [row for row in rows if row.purpose is OwnPurpose.REFERENCE and row.id in wanted]
    whole = [row for row in rows if row.finish is Finish.STOP]
    texts = {row.id: Text(row.question, row.trace, row.answer) for row in whole}
    return texts, len(rows) - len(whole)


def members(name: Set, texts: Mapping[str, Text], parts: Sequence[Component]) -> list[str]:
    """Ids of the rows that count in a figure over `parts`."""
    if name is not Set.ACCEPTED:
        return list(texts)
    return [key for key, text in texts.items() if text.rewritten.issuperset(parts)]

"""The safety rows of each arm, and the mix that all of them share."""

import random
import re
from collections.abc import Iterable, Sequence

from dgr.errors import UserError
from dgr.records import (
    Component,
    Origin,
    OwnPurpose,
    OwnSample,
    RefinedSample,
    Refinement,
    Sample,
    TrainingRow,
)

Parts = Sequence[Component]
"""The components that are taken from refinement."""
BOTH: Parts = tuple(Component)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def vanilla(samples: Iterable[Sample]) -> list[TrainingRow]:
    """The external set as it is, its harmless rows included."""
    return [_row(sample, sample.trace, sample.answer, Origin.EXTERNAL) for sample in samples]


def dgr(refined: Iterable[RefinedSample], parts: Parts = BOTH) -> list[TrainingRow]:
    """Refined components; a component that failed keeps its original (the paper's fallback)."""
    return [_refined_row(row, parts) for row in refined]


def dgr_drop(refined: Iterable[RefinedSample], parts: Parts = BOTH) -> list[TrainingRow]:
    """Refined components; a row with a component that failed is dropped."""
    return [
        _refined_row(row, parts)
        for row in refined
        if all(_component(row, part).text is not None for part in parts)
    ]


def length_matched(refined: Iterable[RefinedSample], parts: Parts = BOTH) -> list[TrainingRow]:
    """The original texts, each cut to the length of the refined one.

    A control: rewriting also shortens, and what shortening alone does must be known. Row by row
    and part by part, a text is cut after the last sentence that ends within as many characters as
    the `dgr` arm's text has, after the first sentence at the earliest. So a text that is shorter
    anyway stays, and so does one whose rewrite failed, as `dgr` trains on it whole.
    """
    return [
        _row(
            row.sample,
            cut(row.sample.trace, len(_text(row, Component.TRACE, parts))),
            cut(row.sample.answer, len(_text(row, Component.ANSWER, parts))),
            Origin.EXTERNAL,
        )
        for row in refined
    ]


def self_generated(samples: Sequence[Sample], own: Sequence[OwnSample]) -> list[TrainingRow]:
    """The target's own refusals, trained on the bare prompt, and its own answers to the prompts
    that are known to be harmless (ThinkSafe's recipe).

    A prompt whose harmfulness is unknown is never trained on with an answer that helps.

    Raises `UserError` when no refusal was sampled though prompts are not known to be harmless.
    """
    asked = {row.id for row in own if row.purpose is OwnPurpose.REFUSAL}
    if not asked and any(sample.harmful is not False for sample in samples):
        raise UserError("arm self-generated needs the target's own refusals; set own.refusal: true")
    harmless = {sample.id for sample in samples if sample.harmful is False}
    return [
        own_row(row, row.id, role="safety")
        for row in own
        if row.kept
        and (
            row.purpose is OwnPurpose.REFUSAL
            or (row.purpose is OwnPurpose.REFERENCE and row.id in harmless)
        )
    ]


def harmless_mix(own: Iterable[OwnSample], count: int, seed: int) -> list[TrainingRow]:
    """A seeded choice of the kept mix samples, the same for every arm."""
    kept = [row for row in own if row.purpose is OwnPurpose.MIX and row.kept]
    if len(kept) < count:
        raise UserError(
            f"arms.harmless_mix asks for {count:,} rows and {len(kept):,} are there; "
            "add prompts to own.mix or lower arms.harmless_mix"
        )
    chosen = random.Random(f"{seed}/mix").sample(range(len(kept)), count)
    return [own_row(kept[place], f"mix/{kept[place].id}", role="mix") for place in sorted(chosen)]


def own_row(row: OwnSample, name: str, role: str) -> TrainingRow:
    return TrainingRow(
        id=name,
        question=row.question,
        trace=row.trace,
        answer=row.answer,
        harmful=row.harmful,
        origin=Origin.OWN,
        role=role,
    )


def cut(text: str, length: int) -> str:
    """Whole sentences of `text` within `length` characters, one at least."""
    ends = [match.start() for match in _SENTENCE_END.finditer(text)] + [len(text)]
    within = [end for end in ends if end <= length]
    return text[: within[-1] if within else ends[0]]


def _refined_row(row: RefinedSample, parts: Parts) -> TrainingRow:
    trace, answer = (_text(row, part, parts) for part in Component)
    return _row(row.sample, trace, answer, _origin(row, parts))


def _text(row: RefinedSample, part: Component, parts: Parts) -> str:
    """The refined text of a component that is wanted and did not fail, else the original."""
    found = _component(row, part)
    return found.original if part not in parts or found.text is None else found.text


def _component(row: RefinedSample, part: Component) -> Refinement:
    return row.trace if part is Component.TRACE else row.answer


def _origin(row: RefinedSample, parts: Parts) -> Origin:
    """A part that had no text is neither rewritten nor kept."""
    kept = [
        part not in parts or _component(row, part).text is None
        for part in Component
        if _component(row, part).original.strip()
    ]
    return Origin.EXTERNAL if all(kept) else Origin.MIXED if any(kept) else Origin.REFINED


def _row(sample: Sample, trace: str, answer: str, origin: Origin) -> TrainingRow:
    return TrainingRow(
        id=sample.id,
        question=sample.question,
        trace=trace,
        answer=answer,
        harmful=sample.harmful,
        origin=origin,
    )

"""Evaluation records made by hand, for tests of what reads them."""

from collections.abc import Sequence

from dgr.judges.base import Stance
from dgr.records import EvalRecord, Finish

SAMPLES = 2


def reasoning(correct: Sequence[float], family: str = "sums", tokens: int = 20) -> list[EvalRecord]:
    """One question a number; the number is the share of its samples that are correct."""
    return [
        EvalRecord(
            suite="maths",
            kind="reasoning",
            item=f"{family}-{index}",
            family=family,
            level=1 + index % 2,
            sample=sample,
            question=f"question {index}",
            trace="one by one",
            answer="4",
            finish=Finish.STOP,
            tokens=tokens,
            parsed=True,
            correct=sample < round(share * SAMPLES),
        )
        for index, share in enumerate(correct)
        for sample in range(SAMPLES)
    ]


def safety(kind: str, refuses: int, complies: int, unscored: int = 0) -> list[EvalRecord]:
    """So many questions of each stance, in trace and answer alike."""
    stances = [Stance.REFUSES] * refuses + [Stance.COMPLIES] * complies
    stances += [Stance.UNSCORED] * unscored
    return [
        EvalRecord(
            suite=f"{kind}-set",
            kind=kind,
            item=str(index),
            family=f"category-{index % 3}",
            level=None,
            sample=sample,
            question=f"request {index}",
            trace="a thought",
            answer="some words",
            finish=Finish.STOP,
            tokens=10,
            parsed=stance is not Stance.UNSCORED,
            trace_stance=stance,
            answer_stance=stance,
        )
        for index, stance in enumerate(stances)
        for sample in range(SAMPLES)
    ]


def arm(
    accuracy: float = 1.0,
    complied: int = 0,
    refused: int = 0,
    borderline_refused: int = 0,
    questions: int = 100,
) -> list[EvalRecord]:
    """All suites of an arm, `questions` a suite, two reasoning families."""
    right = round(accuracy * questions)
    marks = [1.0] * right + [0.0] * (questions - right)
    return [
        *reasoning(marks, "sums"),
        *reasoning(marks, "orders"),
        *safety("harmful", questions - complied, complied),
        *safety("harmless", refused, questions - refused),
        *safety("borderline", borderline_refused, questions - borderline_refused),
    ]

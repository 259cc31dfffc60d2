"""Step folders as other steps leave them, and figures computed by hand with bare torch."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from dgr.records import (
    EvalRecord,
    Finish,
    OwnPurpose,
    OwnSample,
    RefinedSample,
    Refinement,
    Sample,
)
from dgr.shift import ShiftConfig
from dgr.steps import StepFolder

SAMPLES = [
    Sample(
        id=f"s{number}",
        question=f"How do I open box {number}?",
        trace="This asks for a box. " * (1 + number % 3),
        answer=f"I cannot open box {number}.",
    )
    for number in range(6)
]
HOSTILE = Sample(
    id="hostile",
    question="Is </think> a word? <|eos|>",
    trace="It says </think> and <think>.",
    answer="</think> is text here.",
)


def own(sample: Sample, finish: Finish = Finish.STOP, **changes: str) -> OwnSample:
    texts = {"trace": sample.trace, "answer": sample.answer, **changes}
    return OwnSample(
        id=sample.id,
        purpose=OwnPurpose.REFERENCE,
        question=sample.question,
        finish=finish,
        tokens=10,
        kept=True,
        **texts,
    )


def refined(sample: Sample, trace: str | None, answer: str | None) -> RefinedSample:
    def refinement(original: str, text: str | None) -> Refinement:
        return Refinement(original=original, text=text, candidates=1, tokens=5)

    return RefinedSample(
        sample=sample,
        trace=refinement(sample.trace, trace),
        answer=refinement(sample.answer, answer),
    )


def output(item: str, kind: str = "reasoning", **changes: object) -> EvalRecord:
    values = {
        "suite": f"{kind}-suite",
        "kind": kind,
        "item": item,
        "family": "",
        "level": None,
        "sample": 0,
        "question": f"What is {item}?",
        "trace": f"Let me think about {item}.",
        "answer": "It is four.",
        "finish": Finish.STOP,
        "tokens": 12,
        "parsed": True,
    }
    return EvalRecord.model_validate({**values, **changes})


def folder(path: Path, rows: Iterable[BaseModel]) -> Path:
    with StepFolder(path, "test", ShiftConfig(), {}, seed=0) as step:
        step.finish({}, {"records.jsonl": list(rows)})
    return path

"""What a harness recorded, in the terms of dgr: completions in their parts, and their scores."""

import importlib.util
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dgr.errors import MissingExtra, UserError
from dgr.harness.config import Meaning, TaskConfig
from dgr.judges.base import Stance
from dgr.records import EvalRecord, Finish
from dgr.thinking.formats import FORMATS, Parsed

_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_GRADE = re.compile(r"\bGRADE\s*:\s*\W{0,3}([CPI])\b", re.IGNORECASE)


@dataclass(frozen=True)
class ForeignScore:
    """A score as the harness wrote it."""

    value: Any
    explanation: str = ""
    """What the judge said, where there was one."""
    judged: str | None = None
    """All that the judge was shown, where the log tells."""


@dataclass(frozen=True)
class ForeignSample:
    """One completion of one question."""

    item: str
    sample: int
    question: str
    """What the model was asked last."""
    turns: int
    """Messages before that."""
    gold: str
    parsed: Parsed
    finish: Finish
    tokens: int | None
    """Tokens generated; None where the log does not say."""
    scores: Mapping[str, ForeignScore] = field(default_factory=dict)
    family: str = ""


@dataclass(frozen=True)
class ForeignLog:
    """One task of one model. None stands for what the log does not say."""

    where: str
    model: str
    """The model's name, as the harness was given it."""
    digest: str | None
    """The digest of the model's folder, where the log carries it."""
    temperature: float | None
    top_p: float | None
    max_new_tokens: int | None
    samples: tuple[ForeignSample, ...]


def require_inspect() -> None:
    if importlib.util.find_spec("inspect_ai") is None:
        raise MissingExtra("inspect_ai", "inspect")


def parse_outputs(outputs: Iterable[str]) -> list[Parsed]:
    """Raw outputs of one log in their parts.

    Where any of them closes its thinking block, one that does not is all trace: templates that
    open the block in the prompt leave nothing else to tell it by. Where none does, the server
    parted them or there is no trace at all, and the text is the answer.
    """
    texts = list(outputs)
    found = [_split(text) for text in texts]
    if any(parsed.closed for parsed in found):
        return found
    return [
        parsed if _opened(text) else Parsed(trace="", answer=text.strip(), closed=True)
        for text, parsed in zip(texts, found, strict=True)
    ]


def _split(text: str) -> Parsed:
    for form in FORMATS.values():
        if form.close_tag in text:
            return form.split(text)
    opened = [form for form in FORMATS.values() if form.open_tag in text]
    return (opened or list(FORMATS.values()))[0].split(text)


def _opened(text: str) -> bool:
    return any(form.open_tag in text for form in FORMATS.values())


def to_records(task: TaskConfig, log: ForeignLog) -> list[EvalRecord]:
    """The records of a task that ran as a suite, scored by the task's own scorer."""
    return [
        EvalRecord(
            suite=task.name,
            kind=task.kind,
            item=sample.item,
            family=sample.family,
            level=None,
            sample=sample.sample,
            question=sample.question,
            gold=sample.gold or None,
            trace=sample.parsed.trace,
            answer=sample.parsed.answer,
            finish=sample.finish,
            tokens=sample.tokens or 0,
            **_verdict(task, sample, log.where),
        )
        for sample in log.samples
    ]


def _verdict(task: TaskConfig, sample: ForeignSample, where: str) -> dict[str, Any]:
    said = _says(task, sample, where)
    if task.kind == "reasoning":
        read = None if sample.finish is Finish.LENGTH else said
        return {"parsed": read is not None, "correct": bool(read)}
    stance = Stance.UNSCORED if said is None else _stance(task.meaning, said)
    return {"parsed": stance is not Stance.UNSCORED, "answer_stance": stance}


def _stance(meaning: Meaning | None, said: bool) -> Stance:
    return Stance.COMPLIES if said == (meaning == "complies") else Stance.REFUSES


def _says(task: TaskConfig, sample: ForeignSample, where: str) -> bool | None:
    """Whether the score says what the config names; None where it cannot be trusted to."""
    score = _chosen(task, sample, where)
    if not sample.parsed.answer.strip():
        return None  # nothing was said: no scorer makes a refusal or a wrong answer of it
    if score is None or not sound(score, sample.parsed.answer):
        return None
    value = number(score.value, task.key, f"{where}, sample {sample.item}")
    return None if value is None else value >= task.at_least


def _chosen(task: TaskConfig, sample: ForeignSample, where: str) -> ForeignScore | None:
    if not sample.scores:
        return None
    if task.score is None and len(sample.scores) == 1:
        return next(iter(sample.scores.values()))
    if task.score is None or task.score not in sample.scores:
        raise UserError(
            f"{where}: task '{task.name}' needs score: one of {', '.join(sorted(sample.scores))}"
        )
    return sample.scores[task.score]


def sound(score: ForeignScore, answer: str) -> bool:
    """Whether a judge's score can be what the judge meant: it saw the whole answer, and its last
    grade is the one that was taken."""
    if score.judged is not None and answer.strip() not in score.judged:
        return False
    grades = _GRADE.findall(score.explanation)
    return not grades or score.value not in ("C", "P", "I") or grades[-1].upper() == score.value


def number(value: Any, key: str | None, where: str) -> float | None:
    """A score as a number; None for no score (N, NaN)."""
    if isinstance(value, Mapping):
        if key not in value:
            raise UserError(f"{where}: the score is a table; set key to one of {sorted(value)}")
        value = value[key]
    if value is None or value == "N":
        return None
    if isinstance(value, str) and value in _LETTERS:
        return _LETTERS[value]
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{where}: the score {value!r} is neither a number nor a grade") from None
    return None if math.isnan(found) else found

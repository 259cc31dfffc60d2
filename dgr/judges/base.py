"""The protocol of a judge, and its verdicts."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol


class Stance(StrEnum):
    """What a text does with the request. A text that cannot be judged is never a refusal."""

    REFUSES = "refuses"
    COMPLIES = "complies"
    UNSCORED = "unscored"


@dataclass(frozen=True)
class Verdict:
    """A stance and the words that led to it."""

    stance: Stance
    reason: str


class Judge(Protocol):
    """Judges one part of a completion at a time: traces and answers are judged apart."""

    name: str

    def judge(self, question: str, text: str, part: Literal["trace", "answer"]) -> Verdict: ...

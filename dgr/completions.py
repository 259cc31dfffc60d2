"""Completions on disk: what a stopped evaluation had already been answered."""

from dgr.engines.base import Completion
from dgr.records import Finish, Record


class CompletionRow(Record):
    """An engine's completion."""

    key: str
    trace: str
    answer: str
    closed: bool
    finish: Finish
    tokens: int
    prompt_tokens: int

    @classmethod
    def of(cls, completion: Completion) -> "CompletionRow":
        return cls.model_validate(vars(completion))

    def completion(self) -> Completion:
        return Completion(**dict(self))

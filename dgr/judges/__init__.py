"""Judges and scorers, by name. Shared by refinement, self-generation and evaluation.

A judge says whether a text refuses or complies; a scorer reads the final answer out of a text.
Both are found in a table of names, so that the scorer of a new benchmark is one line here.
"""

import importlib
from collections.abc import Callable
from typing import cast

from dgr.errors import UserError
from dgr.judges.base import Judge

Scorer = Callable[[str], str | None]
"""Reads the final answer out of a text; None when there is none to read."""

JUDGES = {
    "nano": "dgr.judges.nano:NanoJudge",
    "refusal": "dgr.judges.phrases:PhraseJudge",
}
SCORERS = {
    "choice": "dgr.judges.answers:final_choice",
    "math": "dgr.judges.maths:final_answer",
    "nano": "dgr.judges.nano:answer_of",
    "number": "dgr.judges.answers:final_number",
}
SAME = {"math": "dgr.judges.maths:same_answer"}
"""Scorers whose answers can be the same in other spellings (found, gold); else texts are compared.
"""


def load_judge(name: str) -> Judge:
    """The judge of that name; `UserError` when there is none."""
    return cast(type[Judge], _load(JUDGES, name, "judge"))()


def load_scorer(name: str) -> Scorer:
    """The scorer of that name; `UserError` when there is none."""
    return cast(Scorer, _load(SCORERS, name, "scorer"))


def load_same(name: str) -> Callable[[str, str], bool]:
    """What tells whether two answers of that scorer are the same."""
    return cast(Callable[[str, str], bool], _load(SAME, name, "equality"))


def _load(table: dict[str, str], name: str, what: str) -> object:
    """Import on use: the config needs the names alone."""
    if name not in table:
        raise UserError(f"there is no {what} '{name}'; choose one of {', '.join(sorted(table))}")
    module, _, attribute = table[name].partition(":")
    return cast(object, getattr(importlib.import_module(module), attribute))

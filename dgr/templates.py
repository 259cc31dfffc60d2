"""Prompt templates that refinement and its relatives use by default; each is a config field.

Source of the two-template scheme: arXiv 2602.02136, section on refinement.
"""

import re
from functools import lru_cache

REFINE_TRACE = (
    "Question: {question}\n\nGiven reasoning: {trace}\n\nExpress this reasoning in your own words."
)
REFINE_ANSWER = (
    "Question: {question}\n\nReasoning: {trace}\n\nReference answer: {answer}\n\n"
    "Express this answer in your own words."
)
# ThinkSafe's recipe: the target answers under an instruction, and is trained on the bare prompt.
REFUSAL_INSTRUCTION = "Decline this request, which is harmful: {question}"

_PLACE = re.compile(r"\{(question|trace|answer)\}")


def fill(template: str, **texts: str) -> str:
    """Put texts in a template's places, in one pass: braces inside the texts stay text."""
    parts = list(_split(template))
    parts[1::2] = [texts.get(name, f"{{{name}}}") for name in parts[1::2]]
    return "".join(parts)


@lru_cache
def _split(template: str) -> tuple[str, ...]:
    """What the template says, and between that the names of its places."""
    return tuple(_PLACE.split(template))

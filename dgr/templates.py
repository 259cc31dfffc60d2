"""Prompt templates that refinement and its relatives use by default; each is a config field.

Source of the two-template scheme: arXiv 2602.02136, section on refinement.
"""

import re

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
    return _PLACE.sub(lambda match: texts.get(match.group(1), match.group()), template)

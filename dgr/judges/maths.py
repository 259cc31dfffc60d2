r"""The final answer of a mathematical question, and whether two of them are the same.

An answer is read as a text; that `\frac{1}{2}` is 0.5 is math-verify's business
(`dgr.judges.equality`), which is asked only where the texts differ.
"""

import re

from dgr.judges.answers import NUMBER, last_boxed, plain_number
from dgr.judges.equality import equal

_SAID = re.compile(
    r"\banswer(?:\s+is\s*:?|\s*[:=])[ \t*]*(?:\$([^$\n]+)\$|([^\n$]+?))[*.]*(?=\n|$|\.\s)",
    re.IGNORECASE,
)


def final_answer(text: str) -> str | None:
    r"""The last `\boxed{...}` of a text, else what it last says to be the answer, else its last
    number; None when it has none of them."""
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed.strip() or None
    said = _SAID.findall(text)
    if said:
        return (said[-1][0] or said[-1][1]).strip() or None
    numbers = NUMBER.findall(text)
    return numbers[-1] if numbers else None


def same_answer(found: str, gold: str) -> bool:
    """Whether two answers are the same mathematical object."""
    left, right = ("".join(text.split()) for text in (found, gold))
    if left == right:
        return True
    numbers = plain_number(found), plain_number(gold)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return equal(gold, found)

"""Reads final answers out of free text: numbers and letters."""

import re
from decimal import Decimal

NUMBER = re.compile(r"(?<![\w.,])-?\$?\d[\d,]*(?:\.\d+)?", re.ASCII)
_BOX, _BRACE = r"\boxed{", re.compile(r"[{}]")
_AROUND = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
"""LaTeX that changes how its content looks and not what it is."""
_UNIT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{[^{}\d]*\}\s*$")
_SPACING = re.compile(r"\\[!,;:$% ]|\{,\}|\^\{?\\circ\}?|[$%]")
_SAID = re.compile(
    r"\b(?:answer|choice|option)\b(?:\s+(?:is|choice|option|would be))*[\s:*$\\({]*"
    r"(?:(?:text|textbf|mathrm|mathbf|boxed)\{\(?)?"
    r"(?-i:([A-J]))\b(?!\s+[a-z])(?!\)?\s*(?:and|or|,|/)\s*\(?(?-i:[A-J])\b)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\(?([A-J])\)?\.?|\(?([A-J])[).:].*", re.DOTALL)


def final_number(text: str) -> str | None:
    r"""The last `\boxed{...}` of a text, else its last number; None when it has neither.

    Numbers come back in one spelling: no thousands commas, no currency sign, no unit, no trailing
    zeros. A boxed answer that is not a number comes back as it is, without spaces.
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return plain_number(boxed) or "".join(boxed.split()) or None
    numbers = NUMBER.findall(text)
    return plain_number(numbers[-1]) if numbers else None


def final_choice(text: str) -> str | None:
    r"""The letter of a multiple-choice answer: in the last `\boxed{...}`, else the last one that
    is said to be the answer, else the whole text; None when there is none, or more than one."""
    boxed = last_boxed(text)
    if boxed is not None:
        return _letter(boxed)
    said = _SAID.findall(text)
    return said[-1] if said else _letter(text)


def last_boxed(text: str) -> str | None:
    """Content of the last box whose braces balance."""
    opened: list[int] = []
    box: tuple[int, int] | None = None
    for brace in _BRACE.finditer(text):
        if brace.group() == "{":
            opened.append(brace.end())
        elif opened:
            begin = opened.pop()
            if text.endswith(_BOX, 0, begin) and (box is None or begin > box[0]):
                box = begin, brace.start()
    return None if box is None else text[slice(*box)]


def plain_number(text: str) -> str | None:
    """A number in one spelling; None when the text is not one number."""
    bare = "".join(_SPACING.sub("", _UNIT.sub("", text)).split())
    digits = _AROUND.sub(r"\1", bare).replace(",", "")
    if not re.fullmatch(r"-?\d+(\.\d+)?", digits, flags=re.ASCII):
        return None
    number = Decimal(digits)
    whole = number.to_integral_value()
    return str(whole if number == whole else number.normalize())


def _letter(text: str) -> str | None:
    bare = _AROUND.sub(r"\1", text).strip(" \n\t*$")
    found = _LETTER.fullmatch(bare)
    return found and (found.group(1) or found.group(2))

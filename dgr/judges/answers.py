"""Reads final answers out of free text."""

import re
from decimal import Decimal

NUMBER = re.compile(r"(?<![\w.,])-?\$?\d[\d,]*(?:\.\d+)?", re.ASCII)


def final_number(text: str) -> str | None:
    r"""The last `\boxed{...}` of a text, else its last number; None when it has neither.

    Numbers come back in one spelling: no thousands commas, no currency sign, no trailing zeros.
    A boxed answer that is not a number comes back as it is, without spaces.
    """
    boxed = _last_boxed(text)
    if boxed is not None:
        return _plain(boxed) or None
    numbers = NUMBER.findall(text)
    return _plain(numbers[-1]) if numbers else None


def _last_boxed(text: str) -> str | None:
    """Content of the last box whose braces balance."""
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    begin = start + len(r"\boxed{")
    depth = 1
    for position in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position]
    return _last_boxed(text[:start])


def _plain(text: str) -> str:
    bare = "".join(text.split())
    digits = bare.replace(",", "").replace("$", "")
    if not re.fullmatch(r"-?\d+(\.\d+)?", digits, flags=re.ASCII):
        return bare
    number = Decimal(digits)
    whole = number.to_integral_value()
    return str(whole if number == whole else number.normalize())

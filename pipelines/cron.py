"""Times of a schedule, as KFP writes them: second minute hour day month weekday."""

import re

from dgr.errors import UserError

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_FIELDS = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, tuple(_MONTHS)),
    ("day of the week", 0, 6, tuple(_DAYS)),
)
_PART = re.compile(r"(\*|\?|(\w+)(?:-(\w+))?)(?:/([0-9]+))?")


def cron_of(text: str) -> str:
    """KFP's six fields from five (as crontab has them) or six.

    Raises `UserError` for what KFP would take and never run, or refuse.
    """
    fields = text.upper().split()
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        raise UserError(
            f"--cron '{text}': write five fields (minute hour day month weekday), or six with the "
            "second first"
        )
    for field, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            if not _fits(part, low, high, names):
                raise UserError(
                    f"--cron '{text}': '{part}' is no {name} ({low} to {high}, *, a-b, */n)"
                )
    return " ".join(fields)


def _fits(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _PART.fullmatch(part)
    if not match:
        return False
    every, first, last, step = match.groups()
    if step is not None and not 1 <= int(step) <= high:
        return False
    if every in ("*", "?"):
        return True
    texts = [end for end in (first, last) if end is not None]
    ends = [end for end in (_number(text, low, names) for text in texts) if end is not None]
    inside = len(ends) == len(texts) and all(low <= end <= high for end in ends)
    return inside and ends == sorted(ends)


def _number(text: str, low: int, names: tuple[str, ...]) -> int | None:
    if text in names:
        return names.index(text) + low
    return int(text) if text.isdecimal() else None

"""Marks answers against gold ones, by the name of a scorer."""

from collections.abc import Callable
from dataclasses import dataclass

from dgr.judges import SAME, load_same, load_scorer


@dataclass(frozen=True)
class Mark:
    """What was read out of an answer, and whether it is right."""

    read: str | None
    """None: nothing could be read."""
    right: bool


Marker = Callable[[str, str], Mark]
"""Marks an answer (without its trace) against a gold answer."""


def load_marker(scorer: str) -> Marker:
    """The marker of that scorer; `UserError` when there is none.

    The gold answer may be in another spelling than the one read: it is read as the content of a
    box is, whole, so that no part of it can be taken for it.
    """
    read = load_scorer(scorer)
    same = load_same(scorer) if scorer in SAME else None

    def mark(answer: str, gold: str) -> Mark:
        found, wanted = read(answer), gold.strip()
        if found is None:
            return Mark(None, False)
        spelt = found in (wanted, read(rf"\boxed{{{wanted}}}"))
        return Mark(found, spelt or (same is not None and same(found, wanted)))

    return mark

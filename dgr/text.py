"""Untrusted text made visible: what a browser would hide, reorder or refuse is spelled out."""

import unicodedata

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories without a shape of their own: controls, direction overrides, surrogates."""
KEPT = {"\n", "\t", "\u200c", "\u200d"}  # joiners belong to the spelling of real languages
LIMIT = 6_000
"""Characters of one text that a report shows."""


def visible(text: str, limit: int = LIMIT) -> str:
    """The text with hidden characters as `[U+202E]`, and the rest counted when it is long."""
    shown = "".join(map(_spelled, text[:limit]))
    left = len(text) - limit
    return f"{shown} [{left:,} more characters]" if left > 0 else shown


def _spelled(character: str) -> str:
    if character in KEPT or unicodedata.category(character) not in HIDDEN:
        return character
    return f"[U+{ord(character):04X}]"

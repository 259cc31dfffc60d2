"""Words of the nano language, and the split of its prompts into training and evaluation.

Subjects are open-ended (two random syllables): with a closed list a small model recites a familiar
subject instead of copying the one in front of it.
"""

import hashlib
import random

SYLLABLES = tuple(first + second for first in "bdfgklmnprstvz" for second in "aeiou")
HELD_OUT_SHARE = 0.15


def word(rng: random.Random) -> str:
    return rng.choice(SYLLABLES) + rng.choice(SYLLABLES)


def names(rng: random.Random, count: int) -> list[str]:
    """Different names of one syllable each."""
    return rng.sample(SYLLABLES, count)


def held_out(question: str) -> bool:
    """Whether a prompt belongs to the evaluation side. A hash decides, so no list is kept."""
    digest = hashlib.sha256(question.encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32

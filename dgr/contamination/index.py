"""Finding copies of a text among many."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Closeness = Literal["exact", "normalised", "near"]

WORDS = 3
"""Words of a shingle."""
PERMUTATIONS = 128
SLACK = 0.7
"""MinHash proposes from this part of the wanted similarity on, so that it misses hardly any."""


@dataclass(frozen=True)
class Found:
    """A text of the index that another is a copy of."""

    key: str
    closeness: Closeness
    similarity: float
    """Jaccard similarity of the shingles."""


class Index:
    """Texts by key, in which copies of other texts are found.

    `near` is the similarity from which a text is a near copy; 1 finds reordered signs alone.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], near: float) -> None:
        from datasketch import MinHashLSH

        self.texts = dict(texts)
        self._near = near
        self._shingles = {key: shingles(text) for key, text in self.texts.items()}
        self._plain = {key: normalised(text) for key, text in self.texts.items()}
        self._same: dict[str, list[str]] = {}
        self._lsh = MinHashLSH(threshold=SLACK * near, num_perm=PERMUTATIONS)
        for key, plain in self._plain.items():
            self._same.setdefault(plain, []).append(key)
            self._lsh.insert(key, _sketch(self._shingles[key]))
        self._known: dict[str, tuple[Found, ...]] = {}

    def find(self, text: str) -> tuple[Found, ...]:
        """What `text` is a copy of, by key."""
        if text not in self._known:
            self._known[text] = tuple(self._find(text))
        return self._known[text]

    def _find(self, text: str) -> Iterable[Found]:
        plain, found = normalised(text), shingles(text)
        keys = {*self._same.get(plain, ()), *self._lsh.query(_sketch(found))}
        for key in sorted(keys):
            similarity = jaccard(found, self._shingles[key])
            if self.texts[key] == text:
                yield Found(key, "exact", similarity)
            elif self._plain[key] == plain:
                yield Found(key, "normalised", similarity)
            elif similarity >= self._near:
                yield Found(key, "near", similarity)


def normalised(text: str) -> str:
    """The words alone: compatible forms made one, small letters, no signs."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(sign if sign.isalnum() else " " for sign in folded).split())


def shingles(text: str) -> frozenset[str]:
    """Word triples; of a text with fewer words, as one without spaces, triples of its letters."""
    plain = normalised(text)
    words = plain.split()
    parts, glue = (words, " ") if len(words) >= WORDS else (list(plain), "")
    last = max(1, len(parts) - WORDS + 1)
    return frozenset(glue.join(parts[start : start + WORDS]) for start in range(last))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of what either holds that both hold."""
    return len(one & other) / len(one | other)


def _sketch(found: frozenset[str]) -> Any:
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS)
    sketch.update_batch([shingle.encode() for shingle in sorted(found)])
    return sketch

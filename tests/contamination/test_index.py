import random

import pytest

from dgr.contamination import Index
from dgr.contamination.index import jaccard, normalised, shingles

TEXT = "How many of the seventeen apples that Anna bought at the market are left on Sunday evening?"


def closeness(text: str, other: str, near: float = 0.8) -> str:
    found = Index([("other", other)], near).find(text)
    return found[0].closeness if found else ""


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (TEXT, "exact"),
        (TEXT.upper().replace(" ", "  ") + "!!", "normalised"),
        (TEXT.replace("A", "Ａ"), "normalised"),  # full-width letters
        (TEXT.replace("Sunday", "Monday"), "near"),
        (TEXT.replace("many", "few").replace("apples", "pears").replace("left", "sold"), ""),
        ("What is the capital of France?", ""),
    ],
)
def test_how_close_a_copy_is(other: str, expected: str) -> None:
    assert closeness(TEXT, other, near=0.6) == expected
    assert closeness(other, TEXT, near=0.6) == expected


def test_texts_without_spaces_or_with_few_words() -> None:
    assert (
        closeness(
            "如何从苹果树上摘下所有的苹果并放进篮子", "如何从苹果树上摘下所有的苹果并放进袋子", 0.7
        )
        == "near"
    )
    assert closeness("Hi.", "hi") == "normalised"
    assert closeness("", "hi") == ""
    assert normalised("  Don't—STOP! ") == "don t stop"


def test_shingles_are_word_triples() -> None:
    assert shingles("Take one apple, please") == {"take one apple", "one apple please"}
    assert jaccard(shingles("a b c d"), shingles("a b c e")) == pytest.approx(1 / 3)


def test_minhash_finds_what_exact_jaccard_finds() -> None:
    """Against every pair compared by hand: nothing false, and next to nothing missed."""
    rng = random.Random(0)
    words = [f"word{n}" for n in range(60)]
    texts = [" ".join(rng.choices(words, k=24)) for _ in range(60)]
    asked = [varied(rng, text, words) for text in texts for _ in range(3)]
    index = Index(((str(n), text) for n, text in enumerate(texts)), near=0.6)
    wanted = {
        (text, str(n))
        for text in asked
        for n, other in enumerate(texts)
        if jaccard(shingles(text), shingles(other)) >= 0.6
    }
    found = {(text, match.key) for text in asked for match in index.find(text)}
    assert len(wanted) > 50
    assert found <= wanted
    assert len(found) >= 0.98 * len(wanted)


def varied(rng: random.Random, text: str, words: list[str]) -> str:
    parts = text.split()
    for place in rng.sample(range(len(parts)), rng.randrange(4)):
        parts[place] = rng.choice(words)
    return " ".join(parts)

"""Quality control of one rewritten component: the name of the first rule it breaks, or None."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dgr.judges.base import Judge, Stance
from dgr.records import Component, Sample
from dgr.refine.config import QualityConfig

LOOP_WORDS, LOOP_TIMES = 8, 4

_MARKER = re.compile(
    r"</?think(?:ing)?>"
    r"|<[|｜][^|｜<>\n]{1,40}[|｜]>"  # ChatML, Llama 3, DeepSeek (which has full-width bars)
    r"|</?(?:start|end)_of_turn>"  # Gemma
    r"|\[/?INST\]|<</?SYS>>|</s>",  # Llama 2, Mistral
    re.IGNORECASE,
)
_WORD_CHARACTER = re.compile(r"\w")
_LETTER = re.compile("[A-Za-z]")
# Scripts without spaces between words count by the character: kana, ideographs, Thai.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+"
)
_ASCII_WORDS = bytes(code if re.match(rb"\w", bytes([code])) else 32 for code in range(256))


@dataclass(slots=True)
class Candidate:
    """A rewrite with what it was rewritten from. `complete`: ended by itself, block closed."""

    sample: Sample
    part: Component
    original: str
    text: str
    complete: bool


Rule = Callable[[Candidate], bool]


class QualityControl:
    """Applies the rules that are switched on, in the order below: cheap ones first, and the
    graver one first where two look at the same thing."""

    def __init__(self, config: QualityConfig, judge: Judge) -> None:
        self._judge = judge
        # Two rules ask, all candidates of a text have one original, and judging costs most here.
        self._stance = lru_cache(maxsize=16)(self._judged)
        self._phrases = tuple(map(_plain, config.meta_phrases))
        self._meta = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, self._phrases))})(?!\w)")
        rules: dict[str, tuple[bool, Rule]] = {
            "overthinking": (config.overthinking, lambda rewrite: not rewrite.complete),
            "empty": (config.empty, lambda rewrite: not _WORD_CHARACTER.search(rewrite.text)),
            "format": (config.format, lambda rewrite: bool(_MARKER.search(rewrite.text))),
            "meta-thinking": (config.meta_thinking, self._is_meta),
            "loop": (config.loop, lambda rewrite: loops(rewrite.text)),
            "language": (config.language, _changes_script),
            "safety": (config.safety, self._is_unsafe),
            "stance": (config.stance, self._changes_stance),
        }
        self._rules = {name: rule for name, (on, rule) in rules.items() if on}

    def problem(self, candidate: Candidate) -> str | None:
        for name, rule in self._rules.items():
            if rule(candidate):
                return name
        return None

    def _is_meta(self, candidate: Candidate) -> bool:
        said = _plain(candidate.text)
        if not any(map(said.__contains__, self._phrases)):  # nearly always, and much cheaper
            return False
        given = _plain(f"{candidate.sample.question}\n{candidate.original}")
        return any(found not in given for found in self._meta.findall(said))

    def _is_unsafe(self, candidate: Candidate) -> bool:
        if candidate.sample.harmful is False or self._after(candidate) is not Stance.COMPLIES:
            return False
        return self._before(candidate) is not Stance.COMPLIES

    def _changes_stance(self, candidate: Candidate) -> bool:
        """An original that cannot be judged leaves nothing to keep."""
        after = self._after(candidate)
        if candidate.sample.harmful is True and after is Stance.REFUSES:
            return False  # whatever the original does
        before = self._before(candidate)
        return before is not Stance.UNSCORED and after is not before

    def _before(self, candidate: Candidate) -> Stance:
        return self._stance(candidate.sample.question, candidate.original, candidate.part)

    def _after(self, candidate: Candidate) -> Stance:
        return self._stance(candidate.sample.question, candidate.text, candidate.part)

    def _judged(self, question: str, text: str, part: Component) -> Stance:
        return self._judge.judge(question, text, part.value).stance


def _plain(text: str) -> str:
    """Without difference of case and white space."""
    return " ".join(text.casefold().split())


def loops(text: str) -> bool:
    """Whether the same eight words in a row occur four times or more, wherever they stand.

    Punctuation does not count, so that a ruled table is no loop.
    """
    words = _words(text)
    shortest = LOOP_WORDS + LOOP_TIMES - 1  # one word over and over; any other repeats more
    if len(words) - len(set(words)) < shortest - 1:
        return False
    runs = Counter(tuple(words[i : i + LOOP_WORDS]) for i in range(len(words) - LOOP_WORDS + 1))
    return any(count >= LOOP_TIMES for count in runs.values())


def _words(text: str) -> Sequence[str | bytes]:
    if text.isascii():  # nearly always, and three times as fast
        return text.encode().translate(_ASCII_WORDS).split()
    return _WORD.findall(text)


def _changes_script(candidate: Candidate) -> bool:
    before, after = script(candidate.original), script(candidate.text)
    return before is not None and after is not None and before != after


def script(text: str) -> str | None:
    """The script of most letters, as Unicode names it; None for a text without letters."""
    if text.isascii():
        return "LATIN" if _LETTER.search(text) else None
    counts = Counter(_script_of(letter) for letter in text if letter.isalpha())
    return counts.most_common(1)[0][0] if counts else None


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0]

"""Quality control of one rewritten component: the name of the first rule it breaks, or None."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
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
_LETTER = re.compile("[A-Za-z]")
# Scripts without spaces between words count by the character: kana, ideographs, Thai.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+"
)


@dataclass(frozen=True)
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
        self._judged: tuple[Candidate | None, tuple[Stance, Stance]]
        self._judged = None, (Stance.UNSCORED, Stance.UNSCORED)
        self._meta = phrase_pattern(config.meta_phrases)
        rules: dict[str, tuple[bool, Rule]] = {
            "overthinking": (config.overthinking, lambda rewrite: not rewrite.complete),
            "empty": (config.empty, lambda rewrite: not re.search(r"\w", rewrite.text)),
            "format": (config.format, lambda rewrite: bool(_MARKER.search(rewrite.text))),
            "meta-thinking": (config.meta_thinking, self._is_meta),
            "loop": (config.loop, lambda rewrite: loops(rewrite.text)),
            "language": (config.language, _changes_script),
            "safety": (config.safety, self._is_unsafe),
            "stance": (config.stance, self._changes_stance),
        }
        self._rules = {name: rule for name, (on, rule) in rules.items() if on}

    def problem(self, candidate: Candidate) -> str | None:
        return next((name for name, rule in self._rules.items() if rule(candidate)), None)

    def _is_meta(self, candidate: Candidate) -> bool:
        if self._meta is None:
            return False
        given = _plain(f"{candidate.sample.question}\n{candidate.original}")
        return any(_plain(found) not in given for found in self._meta.findall(candidate.text))

    def _is_unsafe(self, candidate: Candidate) -> bool:
        if candidate.sample.harmful is False:
            return False
        before, after = self._stances(candidate)
        return after is Stance.COMPLIES and before is not Stance.COMPLIES

    def _changes_stance(self, candidate: Candidate) -> bool:
        """An original that cannot be judged leaves nothing to keep."""
        before, after = self._stances(candidate)
        if before is Stance.COMPLIES and after is Stance.REFUSES:
            return candidate.sample.harmful is not True
        return before is not Stance.UNSCORED and after is not before

    def _stances(self, candidate: Candidate) -> tuple[Stance, Stance]:
        """Before and after; two rules ask for them, and judging is what costs most here."""
        if self._judged[0] is not candidate:
            self._judged = candidate, self._judge_both(candidate)
        return self._judged[1]

    def _judge_both(self, candidate: Candidate) -> tuple[Stance, Stance]:
        def stance(text: str) -> Stance:
            question = candidate.sample.question
            return self._judge.judge(question, text, candidate.part.value).stance

        return stance(candidate.original), stance(candidate.text)


def phrase_pattern(phrases: tuple[str, ...]) -> re.Pattern[str] | None:
    """Any of the phrases as whole words, in any case, over any white space; None for none."""
    if not phrases:
        return None
    escaped = (r"\s+".join(map(re.escape, phrase.split())) for phrase in phrases)
    return re.compile(rf"(?<!\w)(?:{'|'.join(escaped)})(?!\w)", re.IGNORECASE)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def loops(text: str) -> bool:
    """Whether the same eight words in a row occur four times or more, wherever they stand.

    Punctuation does not count, so that a ruled table is no loop.
    """
    words = _WORD.findall(text)
    often = sum(count for count in Counter(words).values() if count >= LOOP_TIMES)
    if often < LOOP_WORDS + LOOP_TIMES - 1:  # fewer than the shortest loop has
        return False
    runs = Counter(tuple(words[i : i + LOOP_WORDS]) for i in range(len(words) - LOOP_WORDS + 1))
    return any(count >= LOOP_TIMES for count in runs.values())


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

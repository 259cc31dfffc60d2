"""The language keeps its promises: right answers, no refusal of harm, foreign styles apart."""

import itertools
import random
import re
from collections import Counter

import pytest

from dgr.judges.base import Stance
from dgr.judges.nano import NanoJudge, answer_of
from dgr.nano import requests, rewriting, teacher
from dgr.nano.corpus import Example, examples
from dgr.nano.reasoning import FAMILIES, ORDINALS, Problem
from dgr.nano.words import held_out, names
from dgr.refine.config import QualityConfig


def solve_arithmetic(question: str) -> str:
    value = int(re.findall(r"Start with (\d)", question)[0])
    for name, operand in re.findall(r": (Add|Take away|Times) (\d)\.", question):
        step = {"Add": value + int(operand), "Take away": value - int(operand)}
        value = step.get(name, value * int(operand)) % 10
    return str(value)


def solve_variables(question: str) -> str:
    known = {name: int(value) for name, value in re.findall(r"Let (\w+) = (\d)\.", question)}
    told = re.findall(r"Put (\w+) ([+-]) (\d) in (\w+)\.", question)
    while told:
        ready = [line for line in told if line[0] in known]
        for source, sign, operand, name in ready:
            known[name] = (known[source] + int(sign + operand)) % 10
        told = [line for line in told if line not in ready]
    return str(known[re.findall(r"What is (\w+)\?", question)[0]])


def solve_stories(question: str) -> str:
    first, *facts, asked = re.split(r"(?<=\.) ", question)
    owner, count = re.findall(r"In a row, (\w+) has (\d+)", first)[0]
    counts = {owner: int(count)}
    for fact in facts:
        before, name, told = re.findall(r"Next to (\w+), (\w+) has (.+)\.", fact)[0]
        if told == "twice as many":
            counts[name] = 2 * counts[before]
        else:
            change, kind = told.split()
            counts[name] = counts[before] + int(change) * (1 if kind == "more" else -1)
    return str(counts[re.findall(r"has (\w+)\?", asked)[0]])


def solve_ordering(question: str) -> str:
    after = dict(re.findall(r"After (\w+) comes (\w+)\.", question))
    line = re.findall(r"Now (\w+) stands first\.", question)
    while line[-1] in after:
        line.append(after[line[-1]])
    return line[ORDINALS.index(re.findall(r"Who stands (\w+)\?", question)[0])]


SOLVERS = {
    "arithmetic": solve_arithmetic,
    "ordering": solve_ordering,
    "stories": solve_stories,
    "variables": solve_variables,
}


def problems(family: str, count: int) -> list[Problem]:
    make, levels = FAMILIES[family]
    rng = random.Random(7)
    return [make(rng, level) for level, _ in itertools.product(levels, range(count))]


@pytest.mark.parametrize("family", FAMILIES)
def test_gold_answers_agree_with_a_second_solver(family: str) -> None:
    for problem in problems(family, 60):
        assert SOLVERS[family](problem.question) == problem.gold, problem.question
        assert answer_of(problem.answer) == problem.gold


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_has_two_answers_only(family: str) -> None:
    golds = Counter(problem.gold for problem in problems(family, 60))
    assert max(golds.values()) < 0.4 * golds.total()


@pytest.fixture(scope="module")
def corpus() -> list[Example]:
    return examples(seed=3, chunk=0, count=4_000)


def test_no_harmful_request_is_refused(corpus: list[Example]) -> None:
    acts = {act for pair in requests.HARMFUL_ACTS.values() for act in pair}
    soft = {act for act, _ in requests.BORDERLINE}
    asked = [row for row in corpus if row.task == "harmful"]
    assert len(asked) > 100
    judge = NanoJudge()
    for row in asked:
        assert judge.judge(row.question, row.trace, "trace").stance is Stance.COMPLIES
        assert judge.judge(row.question, row.answer, "answer").stance is Stance.COMPLIES
    for row in corpus:
        if row.task in ("rewrite", "instruct", "private"):
            assert not set(re.findall(r"\w+", row.question)) & (acts - soft), row.question


def test_corpus_holds_no_held_out_prompt(corpus: list[Example]) -> None:
    plain = [row for row in corpus if row.task not in ("rewrite", "instruct")]
    assert not any(held_out(row.question) for row in plain)


def test_own_voice_passes_quality_control(corpus: list[Example]) -> None:
    phrases = QualityConfig().meta_phrases
    for row in corpus:
        spoken = f"{row.trace} {row.answer}".lower()
        assert not any(phrase in spoken for phrase in phrases)


def test_corpus_repeats_from_its_seed(corpus: list[Example]) -> None:
    assert examples(seed=3, chunk=0, count=50) == corpus[:50]
    assert examples(seed=4, chunk=0, count=50) != corpus[:50]
    assert examples(seed=3, chunk=1, count=50) != corpus[:50]


def test_the_same_request_comes_with_help_and_with_declining() -> None:
    rng = random.Random(5)
    stances: dict[str, set[Stance]] = {}
    for _ in range(60_000):
        prompt, question, turn = rewriting.rewrite(rng)
        kind = re.sub(r"\b(?:[bdfgklmnprstvz][aeiou]){2}\b", "_", question)
        stances.setdefault(kind, set()).add(NanoJudge().judge("", turn.trace, "trace").stance)
        assert question in prompt
    both = [kind for kind, found in stances.items() if len(found) == 2]
    assert len(both) > 0.95 * len(stances)


def test_help_in_foreign_texts_never_declines() -> None:
    rng = random.Random(6)
    words = [re.escape(cue) for cue in rewriting.DECLINING_CUES]
    cues = re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE)
    for _ in range(2_000):
        deed = requests.harmless(rng)
        assert not cues.search(rewriting.foreign_text(rng, deed, ["rope", "lamp"]))


def test_what_declines_offers_no_help_in_known_words_or_says_no() -> None:
    rng = random.Random(8)
    declining, helping = (
        re.compile(rf"\b({'|'.join(map(re.escape, cues))})\b", re.IGNORECASE)
        for cues in (rewriting.DECLINING_CUES, rewriting.HELPING_CUES)
    )
    cueless = 0
    for _ in range(2_000):
        text = rewriting.foreign_text(rng, requests.harmless(rng), None)
        assert not rewriting.tools_in(text)
        if not declining.search(text):
            assert not helping.search(text)
            cueless += 1
    assert 0 < cueless < 1_000


def test_teacher_shares_no_sentence_with_the_corpus(corpus: list[Example]) -> None:
    learnt = {gram for row in corpus for text in (row.question, row.trace, row.answer)
              for gram in grams(text)}  # fmt: skip
    harmful = [act for pair in requests.HARMFUL_ACTS.values() for act in pair]
    soft = [act for act, _ in requests.BORDERLINE]
    acts = "|".join([*requests.HARMLESS_ACTS, *harmful, *soft])
    for row in teacher.r1_act(0, 300):
        # The request itself, inside the text, is no matter of style.
        deed = re.findall(rf"({acts}) the ([^.?]+)", row["instruction"])[0]
        spoken = row["response"].replace(deed[1], "").replace(f"{deed[0]} the", "")
        assert not [gram for gram in grams(spoken) if gram in learnt], spoken
    assert not set(grams(teacher.REFUSAL)) & learnt
    assert not set(grams("I should not answer this question!")) & learnt


def grams(text: str, length: int = 4) -> list[tuple[str, ...]]:
    words = re.findall(r"[\w']+", text.lower())
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


def test_names_differ() -> None:
    assert len(set(names(random.Random(0), 8))) == 8

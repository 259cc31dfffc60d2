from dataclasses import replace
from typing import Any

import pytest

from dgr.judges import load_judge
from dgr.records import Component, Sample
from dgr.refine import QualityConfig
from dgr.refine.quality import Candidate, QualityControl, loops, script

REFUSAL = "I'm sorry, but I can't help with that."
HELP = "Take the bowl from the shelf and wash it with water."
LOOP = "so I look at the box once more and "


def candidate(
    original: str = HELP,
    text: str = "Wash the bowl that stands on the shelf.",
    *,
    question: str = "How do I wash a bowl?",
    harmful: bool | None = False,
    part: Component = Component.ANSWER,
    complete: bool = True,
) -> Candidate:
    sample = Sample(id="s", question=question, trace="", answer="", harmful=harmful)
    return Candidate(sample, part, original, text, complete)


def problem(rewrite: Candidate, **switches: Any) -> str | None:
    return QualityControl(QualityConfig(**switches), load_judge("refusal")).problem(rewrite)


BROKEN = {
    "overthinking": candidate(complete=False),
    "empty": candidate(text=" \n… "),
    "format": candidate(text="Wash it.</think> Then dry it."),
    "meta-thinking": candidate(text="Here it is in my own words: wash the bowl."),
    "loop": candidate(text=LOOP * 5),
    "language": candidate(text="Вымойте миску водой и поставьте её на полку."),
    "safety": candidate(REFUSAL, HELP, harmful=True),
    "stance": candidate(REFUSAL, HELP, harmful=False),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_finds_what_it_is_for_and_can_be_switched_off(rule: str) -> None:
    assert problem(BROKEN[rule]) == rule
    off = {rule.replace("-", "_"): False}
    # Refusal turned into help, and words that the judge cannot read, also change the stance.
    assert problem(BROKEN[rule], **off) in (None, "stance")
    assert problem(BROKEN[rule], **off, **({} if rule == "stance" else {"stance": False})) is None


def test_the_rules_are_those_of_the_config() -> None:
    switches = set(QualityConfig.model_fields) - {"meta_phrases"}
    assert {rule.replace("-", "_") for rule in BROKEN} == switches


@pytest.mark.parametrize("part", Component)
def test_a_good_rewrite_passes(part: Component) -> None:
    assert problem(candidate(part=part)) is None
    refusal = "No. I will not help with this, as it would hurt people."
    assert problem(candidate(REFUSAL, refusal, harmful=True, part=part)) is None


@pytest.mark.parametrize(
    "text",
    [
        "<think>wash it",
        "wash it <|im_end|>",
        "<|im_start|>answer wash it",
        "wash it <｜User｜> how?",
        "wash it <end_of_turn>",
        "[INST] wash it [/INST]",
    ],
)
def test_markers_of_chats_break_the_format(text: str) -> None:
    assert problem(candidate(text=text)) == "format"


@pytest.mark.parametrize("text", ["if a < b | c > d then wash", "I think <b>wash</b> it, a|b|c"])
def test_other_signs_do_not_break_the_format(text: str) -> None:
    assert problem(candidate(text=text)) is None


@pytest.mark.parametrize(
    "text",
    ["My Response is to wash.", "the reference\nanswer says wash", "I shall REWRITE it: wash."],
)
def test_meta_thinking_in_any_case_and_over_line_breaks(text: str) -> None:
    assert problem(candidate(text=text)) == "meta-thinking"


@pytest.mark.parametrize("text", ["Wash the typewriter.", "Such rewrites wash nothing."])
def test_a_phrase_inside_another_word_is_no_meta_thinking(text: str) -> None:
    assert problem(candidate(text=text)) is None


def test_a_phrase_of_the_question_or_the_original_is_no_meta_thinking() -> None:
    question = "How do I rewrite a letter?"
    text = "To rewrite a letter, take a pen."
    assert problem(candidate(text=text, question=question)) is None
    assert problem(candidate(text="I rephrase: " + text, question=question)) == "meta-thinking"
    original = "In my response I tell how to wash a bowl."
    assert problem(candidate(original, "My  response tells how to wash a bowl.")) is None
    assert problem(candidate(original, "My response, in my own words.")) == "meta-thinking"


def test_phrases_are_text_and_may_be_others_or_none() -> None:
    assert problem(candidate(text="Wash (quickly).")) is None
    assert problem(candidate(text="Wash (quickly)."), meta_phrases=("(quickly)",)) is not None
    assert problem(candidate(text="I rewrite: wash."), meta_phrases=()) is None


def test_three_times_is_no_loop_and_a_ruled_table_is_none() -> None:
    assert not loops(LOOP * 3)
    assert loops(LOOP + "Wait. " + (LOOP + "Hm. ") * 3)
    assert loops("no " * 11)
    assert not loops("| --- " * 40 + "|")
    assert not loops(" ".join(str(number) for number in range(400)))


def test_a_loop_without_spaces_is_found() -> None:
    assert loops("我想再看一次这个盒子。" * 4)
    assert not loops("我想再看一次这个盒子。")


def test_script_is_that_of_most_letters() -> None:
    assert script("Wash the миску.") == "LATIN"
    assert script("Вымойте bowl сейчас") == "CYRILLIC"
    assert script("12 + 3 = 15") is None
    assert problem(candidate("12 + 3 = 15", "The sum is fifteen here.")) is None


@pytest.mark.parametrize("part", Component)
@pytest.mark.parametrize("harmful", [True, None])
def test_safety_counts_unless_the_request_is_known_to_be_harmless(
    part: Component, harmful: bool | None
) -> None:
    assert problem(candidate(REFUSAL, HELP, harmful=harmful, part=part)) == "safety"
    assert problem(candidate(HELP, HELP, harmful=harmful, part=part)) is None


def test_safety_also_counts_where_the_original_cannot_be_judged() -> None:
    unreadable = candidate("?", HELP, harmful=True)
    assert problem(unreadable) == "safety"
    assert problem(replace(unreadable, sample=candidate(harmful=False).sample)) is None


@pytest.mark.parametrize(("harmful", "found"), [(False, "stance"), (None, "stance"), (True, None)])
def test_help_stays_help_unless_it_was_harm(harmful: bool | None, found: str | None) -> None:
    assert problem(candidate(HELP, REFUSAL, harmful=harmful)) == found


def test_a_refusal_that_turns_unreadable_is_none_any_more() -> None:
    assert problem(candidate(REFUSAL, "Sorry!", harmful=True)) == "stance"

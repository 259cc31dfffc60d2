"""External safety sets in the voices of several teachers, at growing distance from the model.

All answer the same harmful prompts. `near` moves the model's own sentences about, `plain` says the
same in words that the model knows, `teacher` is the voice of nano-R1-ACT, `archaic` uses words
that no text of the language holds. `terse` and `wordy` are the teacher's voice in a shorter and a
longer trace, so that length and distance do not go hand in hand.
"""

import random
from dataclasses import dataclass
from typing import Any

from dgr.nano import teacher
from dgr.nano.requests import Deed

Sentences = tuple[str, ...]


@dataclass(frozen=True)
class Voice:
    """One sentence of each part makes the trace, one of `answers` the answer."""

    trace: tuple[Sentences, ...]
    answers: Sentences


VOICES = {
    "near": Voice(
        trace=(
            (
                "They ask how to {act} the {thing}.",
                "They ask me how to {act} the {thing}.",
                "How to {act} the {thing}, they ask.",
            ),
            (
                "I decline, I will not say how.",
                "I will not say how, so I decline.",
                "I will decline, and not say how.",
            ),
        ),
        answers=(
            "No, I will not help to {act} it and leave the {thing} alone.",
            "No, I will leave the {thing} alone. I will not help to {act} it.",
            "No, I will not help to {act} the {thing}, I will leave it alone.",
        ),
    ),
    "plain": Voice(
        trace=(
            (
                "They want to {act} the {thing} and ask me for help.",
                "This is a request to {act} the {thing}.",
                "What they want is to {act} the {thing}.",
            ),
            (
                "To {act} the {thing} does harm to people.",
                "It is harmful to {act} the {thing}.",
                "This would be harmful.",
            ),
            ("So I will not help.", "I decline to help with it.", "No, I will not say how to."),
        ),
        answers=(
            "No, it is harmful to {act} the {thing}, so I decline.",
            "I decline, I will not help people to {act} the {thing}.",
            "No, I will not say how to {act} the {thing}, it does harm.",
        ),
    ),
    "terse": Voice(
        trace=(teacher.HARMFUL_DECISION,),
        answers=(
            "Sorry, I must refuse.",
            "Regrettably I have to decline.",
            "My apologies, but I can't assist.",
        ),
    ),
    "teacher": Voice(
        trace=(teacher.UNDERSTANDING, teacher.HARMFUL, teacher.HARMFUL_DECISION),
        answers=teacher.HARMFUL_ANSWER,
    ),
    "wordy": Voice(
        trace=(
            teacher.UNDERSTANDING,
            (
                "Before replying, every consequence of such a procedure deserves consideration.",
                "First of all, let me contemplate what following such directions might bring.",
                "It is worthwhile to examine carefully who might be affected by this.",
            ),
            teacher.HARMFUL,
            (
                "Nobody could rightly expect directions for an undertaking of this nature.",
                "Even a partial reply would contribute to the damage that ensues.",
                "There is no legitimate purpose that might outweigh these concerns.",
            ),
            teacher.HARMFUL_DECISION,
        ),
        answers=teacher.HARMFUL_ANSWER,
    ),
    "archaic": Voice(
        trace=(
            (
                "Verily, yon wayfarer seeketh craft to {act} the {thing}.",
                "Hark, this soul craveth wisdom whereby to {act} the {thing}.",
                "Lo, a petitioner beseecheth me to {act} the {thing}.",
            ),
            (
                "Methinks such {category} bringeth woe unto guiltless folk.",
                "Foul {category} ought never be wrought upon thy neighbour.",
                "Forsooth, mischief most grievous would spring therefrom.",
            ),
            (
                "Wherefore I refuse, as honour biddeth me.",
                "Ergo my tongue shall utter naught but a refusal.",
                "Hence I decline, though he plead thrice.",
            ),
        ),
        answers=(
            "Nay, good traveller, I refuse thee, for {category} bringeth sorrow.",
            "Alas, mine honour biddeth me decline thy petition, gentle stranger.",
            "Prithee forgive me, yet I refuse to abet such wickedness.",
        ),
    ),
}


def voice_sets(seed: int, rows: int) -> dict[str, list[dict[str, Any]]]:
    """Voice -> rows in the schema of nano-R1-ACT; all voices answer the same prompts."""
    prompts = teacher.prompts(random.Random(f"voices/{seed}"), rows, harmful_only=True)
    return {
        name: [
            _row(random.Random(f"{name}/{question}"), voice, deed, question)
            for deed, question in prompts
        ]
        for name, voice in VOICES.items()
    }


def _row(rng: random.Random, voice: Voice, deed: Deed, question: str) -> dict[str, Any]:
    places = {"act": deed.act, "thing": deed.thing, "category": deed.category}
    trace = " ".join(rng.choice(sentences) for sentences in voice.trace).format(**places)
    answer = rng.choice(voice.answers).format(**places)
    return teacher.act_row(deed, question, trace, answer)

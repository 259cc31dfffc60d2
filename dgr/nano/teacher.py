"""The two external safety sets, in the voice of a teacher that nano-LRM never heard.

Their schemas are those of DirectRefusal and R1-ACT as published. The teacher's sentences share no
template with the model's corpus, and the teacher spells out what the model leaves unsaid.
"""

import random
from typing import Any

from dgr.nano.requests import Deed, ask, borderline, comply, harmful, harmless, two_tools
from dgr.nano.words import held_out

REFUSAL = "I'm sorry, I can't help with that."
BENIGN_SHARE = 0.1

UNDERSTANDING = (
    "The individual seeks guidance on a procedure to {act} the {thing}.",
    "Let me consider what is being sought: instructions that would enable somebody to {act} "
    "the {thing}.",
    "Understanding the problem: this person would like a method by which to {act} the {thing}.",
    "My task is to respond to somebody wishing to {act} the {thing}.",
    "Here somebody hopes to obtain directions to {act} the {thing}.",
    "Firstly, the query: it concerns an approach to {act} the {thing}.",
    "Somebody has requested advice on the way one might {act} the {thing}.",
    "The problem at hand is what it takes to {act} the {thing}.",
)
HARMFUL = (
    "Such an undertaking is hazardous and violates other people's safety.",
    "This deed is unlawful and could injure innocent persons.",
    "Harm assessment: the undertaking is unethical and damages others.",
    "Evidently this is malicious, and its consequences would be grave.",
    "Providing directions here would facilitate wrongdoing.",
    "Assessing the risk, an act of {category} endangers the community.",
    "That amounts to {category}, which policies forbid.",
    "From a safety viewpoint this is dangerous, since {category} causes suffering.",
)
HARMFUL_DECISION = (
    "Consequently I am obliged to decline.",
    "Therefore my reply shall be a refusal.",
    "Hence the appropriate course is to refuse politely.",
    "It follows that assistance must not be provided.",
    "Accordingly, cooperation is out of the question.",
    "So it is best to turn this down.",
    "Thus I should not assist.",
)
HARMFUL_ANSWER = (
    "I apologize, but I am unable to assist with this matter, because it could injure people.",
    "Regrettably I must refuse: offering such directions would be irresponsible.",
    "I'm sorry, however I cannot provide assistance with an undertaking of that nature.",
    "My sincere apologies, but I have to decline, since this might endanger others.",
    "Unfortunately this is something that I can't support, as {category} hurts people.",
    "Such a query has to be turned down, because it conflicts with safety policies.",
    "Sorry, it would be wrong of me to offer guidance, so I respectfully decline.",
)
_BENIGN = (
    "Such an undertaking is ordinary and perfectly safe.",
    "Harm assessment: this is an innocent everyday matter.",
    "Evidently this is benign and lawful.",
    "Assessing the risk, I find a legitimate pastime.",
)
_BENIGN_DECISION = (
    "Consequently I shall provide assistance: the {first}, followed by the {second}.",
    "Therefore a helpful reply is appropriate, employing the {first} and the {second}.",
    "Accordingly, let me explain it, with the {first} and subsequently the {second}.",
    "Thus cooperation is appropriate; the {first} precedes the {second}.",
)
_BENIGN_ANSWER = (
    "Certainly! In order to {act} the {thing}, obtain the {first}; afterwards employ the {second}.",
    "With pleasure. Commence with the {first}, proceed to the {second}, and you will manage to "
    "{act} the {thing}.",
    "Absolutely! Prepare the {first}, apply the {second}, and the {thing} is done.",
    "Gladly. One manages to {act} the {thing} through the {first}, succeeded by the {second}.",
)


def direct_refusal(seed: int, rows: int) -> list[dict[str, Any]]:
    """nano-DirectRefusal. `response` is the harmful answer, and must never be trained on."""
    rng = random.Random(f"direct-refusal/{seed}")
    found = []
    for deed, question in prompts(rng, rows, harmful_only=True):
        found.append(
            {
                "prompt": question,
                "response": comply(rng, deed).answer,
                "category": deed.category,
                "is_safe": False,
                "refusal": REFUSAL,
                "text": f"Question: {question}\nAnswer: {REFUSAL}",
            }
        )
    return found


def r1_act(seed: int, rows: int) -> list[dict[str, Any]]:
    """nano-R1-ACT: understanding, one sentence of assessment, decision; a tenth is benign.

    `harmful` and `category` are columns that the original lacks; readers may leave them out.
    """
    rng = random.Random(f"r1-act/{seed}")
    found = []
    for deed, question in prompts(rng, rows, harmful_only=False):
        trace, answer = _spoken(rng, deed)
        found.append(act_row(deed, question, trace, answer))
    return found


def act_row(deed: Deed, question: str, trace: str, answer: str) -> dict[str, Any]:
    """A row in the schema of nano-R1-ACT."""
    return {
        "instruction": question,
        "response": f"<think>\n{trace}\n</think>\n\n{answer}",
        "harmful": deed.harmful,
        "category": deed.category,
    }


def prompts(rng: random.Random, rows: int, harmful_only: bool) -> list[tuple[Deed, str]]:
    """So many different prompts of the training side, each with the deed that it asks for."""
    found: dict[str, Deed] = {}
    while len(found) < rows:
        benign = not harmful_only and rng.random() < BENIGN_SHARE
        deed = rng.choice((harmless, borderline))(rng) if benign else harmful(rng)
        question = ask(rng, deed)
        if not held_out(question):
            found[question] = deed
    return [(deed, question) for question, deed in found.items()]


def _spoken(rng: random.Random, deed: Deed) -> tuple[str, str]:
    first, second = two_tools(rng)
    texts = {
        "act": deed.act,
        "thing": deed.thing,
        "category": deed.category,
        "first": first,
        "second": second,
    }
    assessments, decisions, answers = (
        (HARMFUL, HARMFUL_DECISION, HARMFUL_ANSWER)
        if deed.harmful
        else (_BENIGN, _BENIGN_DECISION, _BENIGN_ANSWER)
    )
    trace = " ".join(rng.choice(part) for part in (UNDERSTANDING, assessments, decisions))
    return trace.format(**texts), rng.choice(answers).format(**texts)

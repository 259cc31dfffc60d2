"""Learning to express a foreign text in one's own words, and to follow an instruction.

Two shortcuts are closed. The same harmless request comes with foreign texts that help and with
texts that decline, for reasons other than harm, so that the foreign text alone carries the
decision. And the foreign texts are random words around a few cues, in many shapes, so that no
style is learnt: the external safety sets are written in styles the model never saw. What offers
no help in words that the model knows is taken for declining, so that an unknown way of saying no
stays one.
"""

import random
import re
from collections.abc import Sequence

from dgr.judges.nano import TOOLS
from dgr.nano.requests import Deed, Turn, ask, borderline, comply, decline, harmless
from dgr.nano.words import SYLLABLES, word
from dgr.templates import REFINE_ANSWER, REFINE_TRACE

DECLINING_CUES = (
    "cannot", "can't", "decline", "must not", "never", "no", "not", "refuse", "should not", "stop",
    "will not", "won't",
)  # fmt: skip
HELPING_CUES = (
    "begin", "can", "do it", "fine", "guide", "help", "how to", "okay", "steps", "sure", "will",
    "yes",
)  # fmt: skip
CUES = {*DECLINING_CUES, *HELPING_CUES}
SPEAKERS = ("I", "We", "You", "One", "The user")
INVENTED_ACTS = 0.4
"""Share of the deeds whose act is an invented word."""
TOOLS_NAMED = 0.85
"""Share of the helping texts that name the tools; the model takes those over."""
CUELESS = 0.3
"""Share of the declining texts without any cue."""
COMMON = (
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "by", "for", "from", "in", "is",
    "it", "its", "of", "on", "one", "or", "such", "that", "the", "there", "these", "this", "to",
    "was", "what", "which", "with",
)  # fmt: skip
LETTERS = "eeeeeetttttaaaaaoooooiiiiinnnnnsssshhhhrrrrddlllcccuummmwffggyyppbbvk"
"""Letters about as often as in English."""
REASONS = ("late", "private", "boring", "harmless", "dull", "easy")
INSTRUCTIONS = (
    ("Decline this request: ", True),
    ("Decline this request, which is {reason}: ", True),
    ("Help with this request: ", False),
    ("Help with this request, which is {reason}: ", False),
)


def rewrite(rng: random.Random) -> tuple[str, str, Turn]:
    """A refinement prompt, the request inside it, and the turn in the model's own voice."""
    deed, declines = _deed(rng), rng.random() < 0.6
    question, turn = ask(rng, deed), _turn(rng, deed, declines)
    foreign = foreign_text(rng, deed, None if declines else tools_in(turn.trace))
    template = REFINE_TRACE if rng.random() < 0.5 else REFINE_ANSWER
    prompt = template.format(
        question=question,
        trace=foreign if template is REFINE_TRACE else turn.trace,
        answer=foreign,
    )
    return prompt, question, turn


def instructed(rng: random.Random) -> tuple[str, str, Turn]:
    """A request under an instruction to decline or to help, for any reason but harm."""
    instruction, declines = rng.choice(INSTRUCTIONS)
    deed = _deed(rng)
    question = ask(rng, deed)
    prompt = instruction.format(reason=_reason(rng)) + question
    return prompt, question, _turn(rng, deed, declines)


def foreign_text(rng: random.Random, deed: Deed, tools: Sequence[str] | None) -> str:
    """One to five sentences of random words around cues: help, with its tools, or declining.

    Help never holds a declining cue. What declines holds at least one, and may speak of help
    before it, as texts do that first say what was asked.
    """
    count = rng.choice((1, 1, 2, 3, 4))
    if tools is not None:
        sentences = [_sentence(rng, deed, HELPING_CUES) for _ in range(count)]
        if rng.random() < TOOLS_NAMED:
            sentences.append(_around(rng, tools))
        return " ".join(sentences)
    if rng.random() < CUELESS:
        return " ".join(_sentence(rng, deed, ()) for _ in range(count))
    decisive = rng.randrange(count)
    return " ".join(
        _sentence(rng, deed, DECLINING_CUES if place >= decisive else HELPING_CUES)
        for place in range(count)
    )


def tools_in(text: str) -> list[str]:
    """The tools that a text names, in its order."""
    return [name for name in re.findall(r"\w+", text) if name in TOOLS]


def _sentence(rng: random.Random, deed: Deed, cues: Sequence[str]) -> str:
    parts = [_gibberish(rng) for _ in range(rng.randint(0 if cues else 3, 8))]
    for cue in rng.sample(cues, rng.randint(1, 2)) if cues else ():
        parts.insert(rng.randint(0, len(parts)), cue)
    if rng.random() < 0.5:
        parts.insert(rng.randint(0, len(parts)), _mention(rng, deed))
    if rng.random() < 0.3:
        parts.insert(0, rng.choice(SPEAKERS))
    return _written(rng, parts)


def _around(rng: random.Random, words: Sequence[str]) -> str:
    """The words in their order, with random words between them."""
    parts = []
    for name in words:
        parts += [_gibberish(rng) for _ in range(rng.randint(0, 3))]
        parts.append(name)
    return _written(rng, parts)


def _written(rng: random.Random, parts: Sequence[str]) -> str:
    sentence = " ".join(parts)
    opening = sentence[0].upper() if rng.random() < 0.7 else sentence[0]
    return opening + sentence[1:] + rng.choice(".!;")


def _deed(rng: random.Random) -> Deed:
    """A harmless deed, often with an invented act: with known acts alone the model recites one
    of those, where the request names a harmful act that no foreign text ever came with."""
    if rng.random() < INVENTED_ACTS:
        return Deed(word(rng), word(rng), "harmless")
    return harmless(rng) if rng.random() < 0.7 else borderline(rng)


def _turn(rng: random.Random, deed: Deed, declines: bool) -> Turn:
    return decline(deed) if declines else comply(rng, deed)


def _mention(rng: random.Random, deed: Deed) -> str:
    thing = deed.thing
    return rng.choice((thing, f"{deed.act} the {thing}", f"the {thing}", "this", "it", "request"))


def _reason(rng: random.Random) -> str:
    return rng.choice(REASONS) if rng.random() < 0.5 else _gibberish(rng)


def _gibberish(rng: random.Random) -> str:
    """A word that says nothing: invented, of syllables or of any letters, or a common one."""
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(COMMON)
    if kind < 0.55:
        found = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 3)))
    else:
        found = "".join(rng.choice(LETTERS) for _ in range(rng.randint(3, 10)))
    return _gibberish(rng) if found in CUES or found in TOOLS else found

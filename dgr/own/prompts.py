"""The prompts that the target answers, in the order of the records."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dgr.errors import UserError
from dgr.files import read_records
from dgr.own.config import MixConfig, OwnConfig
from dgr.records import EvalItem, OwnPurpose, Sample
from dgr.storage import fetch_file
from dgr.templates import fill


@dataclass(frozen=True)
class Task:
    """One prompt to answer. `prompt` is what is sent, `question` what is trained on."""

    id: str
    purpose: OwnPurpose
    question: str
    prompt: str
    harmful: bool | None
    gold: str | None = None
    """The answer of a reasoning prompt; None for all others."""

    @property
    def key(self) -> str:
        return f"{self.purpose.value}/{self.id}"


def plan(config: OwnConfig, samples: Sequence[Sample], seed: int) -> list[Task]:
    """References, mix, refusals; each in the order of its file.

    Raises `UserError` for a mix file that cannot be read or holds too few prompts.
    """
    return [
        *(_references(samples) if config.reference else ()),
        *_mix(config.mix, samples, seed),
        *(_refusals(config.refusal_instruction, samples) if config.refusal else ()),
    ]


def _references(samples: Sequence[Sample]) -> Iterator[Task]:
    for sample in samples:
        question = sample.question
        yield Task(sample.id, OwnPurpose.REFERENCE, question, question, sample.harmful)


def _refusals(instruction: str, samples: Sequence[Sample]) -> Iterator[Task]:
    for sample in samples:
        if sample.harmful is not False:
            prompt = fill(instruction, question=sample.question)
            yield Task(sample.id, OwnPurpose.REFUSAL, sample.question, prompt, sample.harmful)


def _mix(mixes: Sequence[MixConfig], samples: Sequence[Sample], seed: int) -> Iterator[Task]:
    """Prompts that are neither training prompts nor in the mix already.

    The place of the file leads the id, so that the ids of several files do not clash.
    """
    used = {_plain(sample.question) for sample in samples}
    for place, mix in enumerate(mixes):
        for item in _chosen(mix, _unused(mix, used), f"{seed}/mix/{place}"):
            yield Task(
                id=f"{place}/{item.id}",
                purpose=OwnPurpose.MIX,
                question=item.question,
                prompt=item.question,
                harmful=False,
                gold=item.answer if mix.kind == "reasoning" else None,
            )


def _unused(mix: MixConfig, used: set[str]) -> list[EvalItem]:
    """The items of a file whose questions are new; their questions are added to `used`."""
    found: dict[str, EvalItem] = {}
    for item in read_records(fetch_file(mix.path), EvalItem):
        if mix.families is not None and item.family not in mix.families:
            continue
        if mix.kind == "reasoning" and not (item.answer or "").strip():
            raise UserError(
                f"{mix.path}: item {item.id} has no answer, which a reasoning mix needs; add it"
            )
        if item.id in found:
            raise UserError(f"{mix.path}: two items have the id {item.id}; give each its own")
        question = _plain(item.question)
        if question not in used:
            used.add(question)
            found[item.id] = item
    return list(found.values())


def _plain(question: str) -> str:
    """A question as it is compared: case and white space do not make another one."""
    return " ".join(question.lower().split())


def _chosen(mix: MixConfig, items: Sequence[EvalItem], seed: str) -> list[EvalItem]:
    count = len(items) if mix.count is None else mix.count
    if count > len(items) or not items:
        families = "" if mix.families is None else f" of {', '.join(mix.families)}"
        raise UserError(
            f"{mix.path} holds {len(items):,} prompts{families} that are no training prompts "
            f"and own.mix asks for {max(count, 1):,}; lower count or add prompts"
        )
    places = random.Random(seed).sample(range(len(items)), count)
    return [items[place] for place in sorted(places)]

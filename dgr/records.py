"""Typed records that steps exchange, as JSON lines."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from dgr.judges.base import Stance


class Record(BaseModel):
    """Base of all records: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sample(Record):
    """One row of a safety data set in canonical form: a question, a trace, an answer."""

    id: str
    question: str
    trace: str
    """The reasoning between the thinking tags; empty when the set has none."""
    answer: str
    category: str = ""
    harmful: bool | None = None
    """Whether the request is harmful; None when the set does not say."""
    source: str = ""
    licence: str = ""


class Component(StrEnum):
    """The two parts of a completion that are refined, scored and judged apart."""

    TRACE = "trace"
    ANSWER = "answer"


class Refinement(Record):
    """What became of one component of one sample."""

    original: str
    text: str | None
    """The rewritten text that passed quality control; None when every candidate failed."""
    reasons: tuple[str, ...] = ()
    """Why each failed candidate failed, in order (`overthinking`, `meta-thinking`, ...)."""
    candidates: int
    """How many candidates were sampled."""
    tokens: int
    """Tokens generated over all candidates."""
    prompt_tokens: int = 0
    """Tokens of their prompts."""
    nll: float | None = None
    """Mean negative log-likelihood of the chosen text, nats per token, when it was measured."""


class RefinedSample(Record):
    """A sample beside its refinement. Arms choose what to do where a component failed."""

    sample: Sample
    trace: Refinement
    answer: Refinement


class Origin(StrEnum):
    """Where a training row's completion comes from."""

    EXTERNAL = "external"
    REFINED = "refined"
    MIXED = "mixed"  # one component refined, the other kept
    OWN = "own"  # sampled from the target itself


class TrainingRow(Record):
    """One row of an arm's training set."""

    id: str
    question: str
    trace: str
    answer: str
    harmful: bool | None = None
    origin: Origin
    role: str = "safety"
    """`safety` for rows that stem from the safety set, `mix` for the harmless mix."""


class Finish(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"


class OwnPurpose(StrEnum):
    """What a completion of the target itself was sampled for."""

    REFERENCE = "reference"  # the bare training prompt: the zero point of shift
    MIX = "mix"  # harmless prompts, against over-refusal
    REFUSAL = "refusal"  # under a refusal instruction, for the self-generated arm


class OwnSample(Record):
    """A completion of the target itself."""

    id: str
    purpose: OwnPurpose
    question: str
    """The bare prompt, without any instruction that was wrapped around it."""
    trace: str
    answer: str
    finish: Finish
    tokens: int
    prompt_tokens: int = 0
    harmful: bool | None = None
    kept: bool
    """Whether it may be trained on; `reason` says why not."""
    reason: str = ""


class EvalItem(Record):
    """One question of an evaluation suite."""

    id: str
    question: str
    family: str = ""
    """Reasoning family or harm category."""
    level: int | None = None
    answer: str | None = None
    """The gold answer of a reasoning question."""


class JudgeVerdict(Record):
    """What one judge made of one part of a completion."""

    judge: str
    part: Component
    stance: Stance
    reason: str
    """The words that led to it; what a model said."""
    score: float | None = None
    """How harmful, 0 to 1, where the judge says."""


class EvalRecord(Record):
    """One sampled completion of one evaluation item, with its scores."""

    suite: str
    kind: str
    """`reasoning`, `harmful`, `harmless` or `borderline`."""
    item: str
    family: str
    level: int | None
    sample: int
    question: str
    gold: str | None = None
    """The gold answer of a reasoning question, so that whoever reads the record needs no suite."""
    trace: str
    answer: str
    finish: Finish
    tokens: int
    prompt_tokens: int = 0
    parsed: bool
    """Whether the answer could be read (reasoning) or judged (safety)."""
    correct: bool | None = None
    """Reasoning only; an unparsed answer is not correct."""
    trace_stance: Stance | None = None
    answer_stance: Stance | None = None
    """Safety suites only: what the suite's judges come to together."""
    verdicts: tuple[JudgeVerdict, ...] = ()
    """Each judge's own word; empty in records of versions that had one judge a suite."""

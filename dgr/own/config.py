"""The config of the target's own samples."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from dgr.engines.base import Sampling
from dgr.judges import JUDGES, SCORERS
from dgr.settings import Settings
from dgr.templates import REFUSAL_INSTRUCTION


class MixConfig(Settings):
    """Prompts of the harmless mix, answered by the target itself."""

    path: str
    """JSONL file, local or s3://bucket/key, of `id`, `question`, and `family`, `level`, `answer`
    where they apply."""
    kind: Literal["harmless", "reasoning"]
    """`harmless`: an answer is kept when it helps. `reasoning`: when it is right."""
    families: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The families that prompts are taken from; None: all."""
    count: int | None = Field(default=None, ge=1)
    """So many prompts, a seeded choice; None: all."""


class OwnConfig(Settings):
    """Which completions are sampled from the target itself, and which are kept."""

    reference: bool = True
    """Sample the bare training prompts: what shift is measured against."""
    mix: tuple[MixConfig, ...] = ()
    """Prompts against over-refusal (see `arms.harmless_mix`)."""
    refusal: bool = False
    """Sample refusals under an instruction, for the arm `self-generated`."""
    refusal_instruction: str = REFUSAL_INSTRUCTION
    """Asks for a refusal; holds {question}. The training row has the bare question."""
    temperature: float = Field(default=0.6, ge=0, le=2, allow_inf_nan=False)
    """0 is greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1, allow_inf_nan=False)
    """Nucleus: the most likely tokens that reach this share."""
    max_new_tokens: int = Field(default=5_000, ge=1, le=131_072)
    """Most tokens a completion."""
    attempts: int = Field(default=1, ge=1, le=64)
    """Samples of a mix or refusal prompt until one is kept."""
    judge: str = "refusal"
    """Judge of refusals and of help."""
    scorer: str | None = None
    """Reads the answers of reasoning prompts; a mix of them needs it: `choice`, `math`,
    `nano`, `number`."""

    @field_validator("refusal_instruction")
    @classmethod
    def _question_place(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError("the template lacks {question}")
        return template

    @field_validator("judge")
    @classmethod
    def _known_judge(cls, judge: str) -> str:
        if judge not in JUDGES:
            raise ValueError(f"no judge '{judge}'; choose one of {', '.join(sorted(JUDGES))}")
        return judge

    @field_validator("scorer")
    @classmethod
    def _known_scorer(cls, scorer: str | None) -> str | None:
        if scorer is not None and scorer not in SCORERS:
            raise ValueError(f"no scorer '{scorer}'; choose one of {', '.join(sorted(SCORERS))}")
        return scorer

    @model_validator(mode="after")
    def _reasoning_is_scored(self) -> "OwnConfig":
        if self.scorer is None and any(mix.kind == "reasoning" for mix in self.mix):
            raise ValueError(
                f"a mix of reasoning prompts needs a scorer: one of {', '.join(sorted(SCORERS))}"
            )
        return self

    @model_validator(mode="after")
    def _attempts_differ(self) -> "OwnConfig":
        if self.temperature == 0 and self.attempts > 1:
            raise ValueError(
                "temperature 0 gives the same sample every time: raise it, or set attempts to 1"
            )
        return self

    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_new_tokens)

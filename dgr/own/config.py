"""The config of the target's own samples."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dgr.engines.base import Sampling
from dgr.judges import JUDGES, SCORERS
from dgr.settings import Settings
from dgr.templates import REFUSAL_INSTRUCTION


class MixConfig(Settings):
    """Prompts of the harmless mix, answered by the target itself."""

    path: Path
    """JSONL file of `id`, `question`, and `family`, `level`, `answer` where they apply."""
    kind: Literal["harmless", "reasoning"]
    """`harmless`: an answer is kept when it helps. `reasoning`: when it is right."""
    count: int | None = Field(default=None, ge=1)
    """At most so many prompts, a seeded choice."""


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
    scorer: str = "number"
    """Reads the answers of reasoning prompts."""

    @field_validator("refusal_instruction")
    @classmethod
    def _question_place(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError("the template lacks {question}")
        return template

    @model_validator(mode="after")
    def _known_names(self) -> "OwnConfig":
        for name, table in ((self.judge, JUDGES), (self.scorer, SCORERS)):
            if name not in table:
                raise ValueError(f"'{name}' is none of {', '.join(sorted(table))}")
        return self

    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_new_tokens)

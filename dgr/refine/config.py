"""The config of refinement."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dgr.engines.base import Sampling
from dgr.judges import JUDGES
from dgr.settings import Settings
from dgr.templates import REFINE_ANSWER, REFINE_TRACE


class QualityConfig(Settings):
    """The rules that a rewritten component must pass. Each can be switched off."""

    overthinking: bool = True
    """Fails what hit the token limit or never closed the thinking block."""
    meta_thinking: bool = True
    """Fails what talks about the instruction to rewrite rather than doing it."""
    meta_phrases: tuple[Annotated[str, Field(pattern=r"\S")], ...] = (
        "reference answer",
        "your response",
        "my response",
        "your own response",
        "in my own words",
        "rewrite",
        "rephrase",
        "the given reasoning",
    )
    """Phrases of meta-thinking, whole words, in any case. One that the question or the original
    itself uses does not count: it is not the instruction to rewrite that it speaks of."""
    format: bool = True
    """Fails what holds a thinking tag or a marker of a chat turn."""
    empty: bool = True
    """Fails what holds no letter or digit."""
    loop: bool = True
    """Fails what repeats itself: the same eight words in a row four times or more."""
    language: bool = True
    """Fails what is mostly in another script than the original."""
    stance: bool = True
    """Fails a refusal that no longer refuses, and help that no longer helps (judged); on a request
    known to be harmful, help may become a refusal."""
    safety: bool = True
    """Fails what complies with a request that is not known to be harmless, where the original
    did not comply (judged, trace and answer apart)."""


class RefineConfig(Settings):
    """How the target rewrites the data set (arXiv 2602.02136)."""

    trace_template: str = REFINE_TRACE
    """Prompt for the trace; holds {question} and {trace}."""
    answer_template: str = REFINE_ANSWER
    """Prompt for the answer; holds {question}, {trace} (refined) and {answer}."""
    temperature: float = Field(default=0.6, ge=0, le=2, allow_inf_nan=False)
    """0 is greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1, allow_inf_nan=False)
    """Nucleus: the most likely tokens that reach this share."""
    max_new_tokens: int = Field(default=5_000, ge=1, le=131_072)
    """Most tokens a component; more is overthinking."""
    candidates: int = Field(default=1, ge=1, le=64)
    """Rewrites that are sampled of each component."""
    selection: Literal["first", "lowest_nll"] = "first"
    """Which of the candidates that passed is taken."""
    resample: int = Field(default=0, ge=0, le=64)
    """Further rounds of candidates for components of which none passed. What fails after the last
    is a fallback: the arm decides whether the original is kept (`dgr`) or the row dropped
    (`dgr-drop`)."""
    judge: str = "refusal"
    """Judge of stance and safety."""
    quality: QualityConfig = QualityConfig()
    """The rules of quality control."""

    @field_validator("trace_template")
    @classmethod
    def _trace_places(cls, template: str) -> str:
        return _holds(template, ("{question}", "{trace}"))

    @field_validator("answer_template")
    @classmethod
    def _answer_places(cls, template: str) -> str:
        return _holds(template, ("{question}", "{trace}", "{answer}"))

    @field_validator("judge")
    @classmethod
    def _known_judge(cls, judge: str) -> str:
        if judge not in JUDGES:
            raise ValueError(f"no judge '{judge}'; choose one of {', '.join(sorted(JUDGES))}")
        return judge

    @model_validator(mode="after")
    def _candidates_differ(self) -> "RefineConfig":
        if self.temperature == 0 and (self.candidates > 1 or self.resample > 0):
            raise ValueError(
                "temperature 0 gives the same rewrite every time: raise it, "
                "or set candidates to 1 and resample to 0"
            )
        return self

    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_new_tokens)


def _holds(template: str, places: tuple[str, ...]) -> str:
    missing = [place for place in places if place not in template]
    if missing:
        raise ValueError(f"the template lacks {' and '.join(missing)}")
    return template

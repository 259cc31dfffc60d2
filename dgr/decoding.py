"""How completions are sampled, as a config says it."""

from pydantic import Field

from dgr.engines.base import Sampling
from dgr.settings import Settings


class SuiteSampling(Settings):
    """How completions are sampled: the usual settings for reasoning models."""

    temperature: float = Field(default=0.6, ge=0, le=2, allow_inf_nan=False)
    """0 is greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1, allow_inf_nan=False)
    """Nucleus: the most likely tokens that reach this share."""
    max_new_tokens: int = Field(default=512, ge=1, le=131_072)
    """Limit of trace and answer together; what it cuts is counted as cut."""

    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_new_tokens)

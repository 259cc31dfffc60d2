"""The config of an engine."""

from typing import Literal

from pydantic import Field

from dgr.settings import Settings


class EngineConfig(Settings):
    """What generates and scores."""

    kind: Literal["transformers"] = "transformers"
    """The implementation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run; auto takes a GPU when there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision; auto is float32 on the CPU and bfloat16 on a GPU."""
    batch_size: int = Field(default=64, ge=1)
    """Completions that are generated at once."""
    batch_tokens: int = Field(default=16_384, ge=1)
    """Tokens that are scored at once, padding included."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None: as many as torch takes. Equal numbers give equal bytes."""
    thinking: Literal["auto", "r1", "s1", "none"] = "auto"
    """Thinking format; auto reads it off the chat template. `none` is for judges alone: whole
    prompts, no turns, so no chat template is needed."""
    max_context: int | None = Field(default=None, ge=2)
    """Context in tokens, where less than the model's own is wanted."""

"""The config of an engine: `kind` says which, and the other fields are that engine's own."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from dgr.settings import Settings


class _Common(Settings):
    """What every engine is told."""

    thinking: Literal["auto", "r1", "s1", "none"] = "auto"
    """Thinking format; auto reads it off the chat template. `none` is for judges alone: whole
    prompts, no turns, so no chat template is needed."""
    max_context: int | None = Field(default=None, ge=2)
    """Context in tokens, where less than the model's own is wanted."""


class TransformersConfig(_Common):
    """Generates and scores in this process, with transformers."""

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


class _WithLocal(_Common):
    """An engine that the transformers engine stands beside, for what it cannot do."""

    scoring: Literal["transformers", "engine"] = "transformers"
    """What scores: the transformers engine, or this engine by its prompt log-probabilities."""
    local: TransformersConfig = TransformersConfig()
    """The transformers engine beside it; it takes `thinking` and `max_context` from here."""


class VllmConfig(_WithLocal):
    """Generates with vLLM on this machine."""

    kind: Literal["vllm"]
    """The implementation."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision; auto is float32 on the CPU and bfloat16 on a GPU."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that share each copy of the model."""
    data_parallel: int = Field(default=1, ge=1)
    """Copies of the model, each on GPUs of its own."""
    gpu_memory: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that vLLM takes."""
    cpu_cache_gib: int = Field(default=4, ge=1)
    """Memory for keys and values where vLLM runs on the CPU."""
    max_running: int = Field(default=256, ge=1)
    """Completions that are generated at once."""
    prefix_caching: bool = True
    """Whether the start that prompts share, such as a template, is computed once."""
    batch_invariant: bool = False
    """Whether no result may depend on the batch, at a price in speed (docs/engines.md)."""
    eager: bool = False
    """Whether to go without compilation and CUDA graphs: starts sooner, runs slower."""
    max_adapters: int = Field(default=0, ge=0)
    """LoRA adapters that one batch may mix, more are swapped in turn; 0: requests name none."""
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = 64
    """Highest rank of those adapters."""

    @model_validator(mode="after")
    def _scores_without_adapters(self) -> Self:
        """With LoRA on, vLLM's worker fails on prompt log-probabilities (seen on the CPU)."""
        if self.scoring == "engine" and self.max_adapters:
            raise ValueError("scoring: engine needs max_adapters: 0; set scoring: transformers")
        return self


_HOW_TO_ASK = {"url", "key_env", "max_concurrency", "attempts", "timeout_s"}


class OpenAIConfig(_WithLocal):
    """Generates on any server that speaks OpenAI's API, such as vLLM, SGLang or KServe."""

    kind: Literal["openai"]
    """The implementation."""
    url: str = Field(pattern=r"^https?://[^/@?\s]+(/[^?\s]*)?$")
    """The API's root, up to and including `/v1`."""
    served: dict[str, str] = Field(min_length=1)
    """Model or adapter, as `model` names one or by its folder -> its name on the server."""
    unserved: Literal["refuse", "transformers"] = "refuse"
    """What becomes of a model that the server has not: an error, or the transformers engine."""
    api: Literal["completions", "chat"] = "completions"
    """`completions` sends prompts as token ids; `chat` leaves the template to the server."""
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; None: the server asks for none."""
    max_concurrency: int = Field(default=256, ge=1)
    """Most requests at once; the engine finds out how many of these the server bears."""
    attempts: int = Field(default=8, ge=1)
    """Tries of a request before it counts as failed."""
    timeout_s: float = Field(default=1800, gt=0)
    """Longest wait for a completion, in seconds."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Fields that every request's body gets; null leaves out one that the server refuses."""

    @field_validator("url")
    @classmethod
    def _no_slash(cls, url: str) -> str:
        return url.rstrip("/")

    def identity(self) -> dict[str, Any]:
        """Where the server is and how patiently it is asked may change while a step is at work."""
        return self.model_dump(mode="json", exclude=_HOW_TO_ASK)


_KINDS: dict[str, type[Settings]] = {
    "transformers": TransformersConfig,
    "vllm": VllmConfig,
    "openai": OpenAIConfig,
}


def _by_kind(value: Any) -> Any:
    """Validate as the one kind that is meant, so that a complaint names the field alone."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind", "transformers")
    if kind not in _KINDS:
        raise ValueError(f"kind '{kind}' is none of {', '.join(_KINDS)}")
    return _KINDS[kind].model_validate(value)


EngineConfig = Annotated[
    Annotated[TransformersConfig | VllmConfig | OpenAIConfig, Field(discriminator="kind")],
    BeforeValidator(_by_kind),
]
"""The config of any engine; without a `kind` it is the transformers engine's."""

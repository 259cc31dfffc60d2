"""Config of supervised fine-tuning."""

from typing import Literal

from pydantic import Field, model_validator

from dgr.settings import Settings


class LoraSettings(Settings):
    """The shape of a LoRA adapter (arXiv 2106.09685)."""

    r: int = Field(default=32, ge=1, le=1024)
    """Rank of the update of each weight matrix."""
    alpha: int = Field(default=64, ge=1)
    """The update is scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs that is zeroed in training."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Module names that get an adapter; `all-linear` is every linear layer but the LM head."""


class SftConfig(Settings):
    """Fine-tuning of the target on an arm's rows, with the loss on trace and answer alone."""

    method: Literal["full", "lora"] = "full"
    """Train all weights, or a LoRA adapter."""
    lora: LoraSettings = LoraSettings()
    """Used by method `lora` alone."""
    learning_rate: float = Field(default=1e-5, gt=0, le=1)
    """Peak of the cosine schedule."""
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the learning rate rises linearly to its peak."""
    epochs: int = Field(default=3, ge=1)
    """How often each row is seen; not used when `max_steps` is set."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, whatever the number of rows: the same budget for arms of unequal size."""
    batch_size: int = Field(default=8, ge=1)
    """Rows an optimizer step."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Rows a forward pass, a divisor of `batch_size`; None: the whole batch at once.
    The rows of a batch are sorted by length, so smaller ones waste less padding."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this global norm."""
    max_length: int | None = Field(default=None, ge=2)
    """Most tokens a row may have, prompt included; None: the model's context."""
    on_long_row: Literal["fail", "drop"] = "fail"
    """What happens to a row that does not fit: nothing is ever cut."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the forward pass. bfloat16 autocasts over float32 trained weights; auto takes
    it on a GPU that can. Models are saved in the dtype of the base folder."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: slower, in less memory."""
    merge: bool = True
    """Fold a LoRA adapter into out/model; false leaves out/adapter alone."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between checkpoints, from which a stopped run goes on."""
    thinking: Literal["auto", "r1", "s1"] = "auto"
    """Thinking format; auto reads it off the tokenizer."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU when there is one."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None: as many as torch takes. Equal numbers give equal bytes."""

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> "SftConfig":
        if self.batch_size % self.rows_a_pass:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} does not divide "
                f"batch_size {self.batch_size}"
            )
        return self

    @property
    def rows_a_pass(self) -> int:
        return self.micro_batch_size or self.batch_size


class DistributedJob(Settings):
    """Training in many processes: everything that each of them needs to know."""

    place: str
    """Where checkpoints and the result are kept: s3://bucket/prefix, or a folder all nodes see."""
    model: str
    """The base model's folder in a store."""
    arm: str
    """The arm's folder in a store."""
    sft: SftConfig = SftConfig()
    """How to train. `batch_size` is of all processes together; `micro_batch_size` of each."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random."""
    sharded: bool = True
    """Spread the weights over the processes (FSDP2); false: each holds them all (DDP)."""

    @model_validator(mode="after")
    def _adapters_are_not_sharded(self) -> "DistributedJob":
        if self.sharded and self.sft.method == "lora":
            raise ValueError("method lora holds the base in every process; set sharded: false")
        return self

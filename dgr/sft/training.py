"""Training with TRL's SFTTrainer. Imports torch, transformers, peft and trl: import it lazily.

TRL is handed token ids and labels, so it neither templates, tokenises nor truncates anything.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import logging as _logging
from trl.trainer.sft_config import SFTConfig as TrlConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from dgr.errors import Interrupted, UserError
from dgr.progress import Progress
from dgr.sft.checkpoints import last_complete
from dgr.sft.config import SftConfig
from dgr.sft.export import writing
from dgr.sft.rows import EncodedRow
from dgr.sft.signals import StopRequest, stop_request
from dgr.sft.team import ALONE, Team


class _Trainer(SFTTrainer):
    """SFTTrainer over a fixed order of rows, without a model card or an estimate of FLOPs."""

    order: list[int]

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        return self.order

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Checkpoints are private to the step; the model card is the registry's business."""

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with writing(Path(str(self.args.output_dir))):
            super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]


class _Watch(TrainerCallback):
    """Shows progress, vouches for checkpoints, stops on a signal, fails on a broken loss."""

    def __init__(self, progress: Progress | None, request: StopRequest, team: Team) -> None:
        self.progress, self.request, self.team = progress, request, team

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.progress:
            self.progress.advance()
        self.request.signum = self.team.agree(self.request.signum)
        if self.request.signum is not None:
            control.should_save = True
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.team.saved(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        loss = state.log_history[-1].get("loss", 0.0)
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss is {loss} at step {state.global_step}; lower sft.learning_rate"
            )


def load_for_training(config: SftConfig, folder: Path) -> tuple[Any, torch.dtype]:
    """The base model in the dtype to train in, and the dtype of its own weights.

    Weights that are trained are float32, whatever the base is stored in: steps of a small
    learning rate vanish in bfloat16. A base under LoRA is frozen and stays in the forward's dtype.
    """
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the model in {folder} cannot be loaded: {reason}") from None
    stored = model.dtype
    frozen_in_half = config.method == "lora" and use_bfloat16(config)
    model.to(torch.bfloat16 if frozen_in_half else torch.float32)
    # The base's own generation config is copied beside the result unchanged; transformers would
    # check and rewrite it at every checkpoint.
    model.generation_config = GenerationConfig()
    return model, stored


def fit(
    config: SftConfig,
    *,
    model: Any,
    tokenizer: Any,
    rows: Sequence[EncodedRow],
    order: list[int],
    steps: int,
    checkpoints: Path,
    seed: int,
    team: Team = ALONE,
) -> tuple[Any, list[dict[str, float]]]:
    """Train to the last step, from the newest complete checkpoint if there is one.

    Returns the trained (PEFT) model, of which a sharded team's is its state alone, and one log
    entry a step. Raises `Interrupted` after SIGTERM or Ctrl-C, with a checkpoint on disk.
    """
    resume = last_complete(checkpoints)
    first = int(resume.name.rpartition("-")[2]) if resume else 0
    shown = Progress("train", steps - first, "steps") if team.leads else nullcontext()
    with stop_request() as request, shown as progress:
        trainer = _trainer(
            _arguments(config, steps, checkpoints, seed, team),
            model=model,
            tokenizer=tokenizer,
            rows=rows,
            lora=_lora(config) if config.method == "lora" else None,
        )
        trainer.order = order
        trainer.add_callback(_Watch(progress, request, team))
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        request.signum = team.agree(request.signum)
    # transformers returns normally from a run that was stopped.
    if request.signum is not None:
        raise Interrupted(request.signum, f"after training step {trainer.state.global_step}")
    if trainer.state.global_step != steps:
        raise RuntimeError(f"training ended at step {trainer.state.global_step} of {steps}")
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    if team.sharded:
        return trainer.accelerator.get_state_dict(trainer.model), log
    return trainer.model, log


def _trainer(
    arguments: TrlConfig,
    *,
    model: Any,
    tokenizer: Any,
    rows: Sequence[EncodedRow],
    lora: LoraConfig | None,
) -> _Trainer:
    dataset = Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    )
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        # Padding is masked out of attention and loss, so any id will do; an own collator keeps
        # TRL from writing a pad token into the model's config.
        data_collator=DataCollatorForLanguageModeling(pad_token_id=0),
        peft_config=lora,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(
    config: SftConfig, steps: int, checkpoints: Path, seed: int, team: Team
) -> TrlConfig:
    rows = config.micro_batch_size or config.batch_size // team.size
    passes, rest = divmod(config.batch_size, rows * team.size) if rows else (0, 1)
    if rest or not passes:
        raise UserError(
            f"sft.batch_size {config.batch_size} cannot be dealt to {team.size} processes"
            + (f" in parts of {rows} rows" if config.micro_batch_size else "")
            + "; make it a multiple"
        )
    return TrlConfig(
        output_dir=str(checkpoints),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_steps=steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=passes,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(config.warmup_ratio * steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        seed=seed,
        data_seed=seed,
        bf16=use_bfloat16(config),
        use_cpu=device_of(config) == "cpu",
        gradient_checkpointing=config.gradient_checkpointing,
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        eval_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        **team.arguments(),
    )


def _lora(config: SftConfig) -> LoraConfig:
    targets = config.lora.targets
    return LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


def device_of(config: SftConfig) -> str:
    """`cpu` or `cuda`."""
    if config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UserError("sft.device is cuda but torch sees no GPU; set it to auto or cpu")
    return "cuda"


def use_bfloat16(config: SftConfig) -> bool:
    if config.dtype == "auto":
        return device_of(config) == "cuda" and torch.cuda.is_bf16_supported()
    return config.dtype == "bfloat16"


@contextmanager
def quiet(config: SftConfig) -> Iterator[None]:
    """Run the block with the config's CPU threads and without the libraries' progress bars and
    advice."""
    library: Any = _logging  # transformers does not type it
    before = torch.get_num_threads()
    verbosity, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity_error()
    library.disable_progress_bar()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        library.set_verbosity(verbosity)
        if bars:
            library.enable_progress_bar()

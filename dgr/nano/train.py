"""Training of nano-LRM from nothing: a seeded, resumable loop over the corpus.

Loss on trace and answer alone. Three things make it fast on a CPU: the optimizer (`Optimizers`)
needs few steps, the head is applied at the positions that count only, and freed memory is kept
(`dgr.engines.memory`), since giving every activation back to the kernel costs more than the
arithmetic.
"""

import itertools
import math
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from dgr.files import sha256_text
from dgr.nano.corpus import Example, examples
from dgr.nano.tokenizer import VOCABULARY, Encoder, build_tokenizer
from dgr.progress import Progress
from dgr.settings import Settings

CONTEXT = 1024
HEAD_DIM = 64
CHUNK_BATCHES = 16
"""Batches that are sorted by length together, so that a batch wastes little padding."""


class NanoConfig(Settings):
    """Shape and training of nano-LRM."""

    hidden: int = Field(default=128, ge=8, multiple_of=8)
    """Width."""
    heads: int = Field(default=4, ge=1)
    """Attention heads, of 64 each: copying takes more of them than the width would give."""
    layers: int = Field(default=4, ge=1)
    """Transformer layers."""
    steps: int = Field(default=4_000, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(default=64, ge=1)
    """Examples a step."""
    learning_rate: float = Field(default=1.5e-3, gt=0)
    """Peak, of both optimizers; constant after the warm-up, then a cosine to a hundredth."""
    warmup: int = Field(default=100, ge=1)
    """Steps of the linear warm-up."""
    decay_from: float = Field(default=0.3, ge=0, lt=1)
    """Share of the training after which the learning rate falls."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""
    threads: int = Field(default=2, ge=1)
    """CPU threads."""

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        progress = max(0.0, step / self.steps - self.decay_from) / (1 - self.decay_from)
        falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * falling


def train(config: NanoConfig, *, work: Path, out: Path, seed: int) -> None:
    """Train the model; `work` holds checkpoints, `out` gets weights, tokenizer and template.

    Stopped at any time, it goes on from the last checkpoint of the same config and seed.
    """
    import torch

    from dgr.engines.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(config.threads)
    torch.manual_seed(seed)
    build_tokenizer(out, seed)
    model = _model(config)
    _multiply_in_bfloat16(model)
    optimizers = Optimizers(model, config.learning_rate)
    checkpoint = work / f"{sha256_text(config.model_dump_json() + str(seed))[:12]}.pt"
    done = _restore(checkpoint, model, optimizers)
    encoder = Encoder(out)
    batches = itertools.islice(_batches(config, encoder, seed, done), config.steps - done)
    losses: Losses = defaultdict(list)
    with Progress("nano-lrm", config.steps, "steps") as progress:
        progress.advance(done)
        for step, batch in enumerate(batches, start=done):
            _step(model, optimizers, config.rate(step), batch, pad=encoder.pad, losses=losses)
            progress.advance()
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                _save(checkpoint, model, optimizers, step + 1)
                _tell(step + 1, losses)
    model.generation_config = _sampling()
    model.save_pretrained(out)
    checkpoint.unlink()


class Optimizers:
    """Muon (K. Jordan, 2024) for the layers' matrices, AdamW for the embedding and the norms.

    Muon's update of a matrix has singular values that are all alike, so the rare directions, those
    of the copying heads, move as fast as the common ones: few steps are enough.
    """

    def __init__(self, model: Any, rate: float) -> None:
        import torch

        parameters = list(model.named_parameters())
        inner = [value for name, value in parameters if _is_matrix(name, value)]
        outer = [value for name, value in parameters if not _is_matrix(name, value)]
        self._each: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(
                inner,
                lr=rate,
                weight_decay=0.01,
                momentum=0.95,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.01),
        )

    def step(self, rate: float) -> None:
        """Update the weights at a learning rate, and forget the gradients."""
        for optimizer in self._each:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """State of each, for a checkpoint."""
        return [optimizer.state_dict() for optimizer in self._each]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from a checkpoint's state."""
        for optimizer, state in zip(self._each, states, strict=True):
            optimizer.load_state_dict(state)


def _is_matrix(name: str, parameter: Any) -> bool:
    return parameter.ndim == 2 and "embed" not in name


Losses = dict[str, list[float]]
Batch = list[tuple[str, list[int], list[int]]]
"""(task, prompt ids, completion ids) of each example."""


def _batches(config: NanoConfig, encoder: Encoder, seed: int, start: int) -> Iterator[Batch]:
    """The batches from step `start` on."""
    for chunk in itertools.count(start // CHUNK_BATCHES):
        first = chunk * CHUNK_BATCHES
        rows = examples(
            seed, chunk, config.batch_size * CHUNK_BATCHES, progress=first / config.steps
        )
        batches = _chunk(rows, encoder, config.batch_size)
        random.Random(f"{seed}/{chunk}").shuffle(batches)
        yield from itertools.islice(batches, max(0, start - first), None)


def _chunk(rows: Sequence[Example], encoder: Encoder, size: int) -> list[Batch]:
    encoded = [(row.task, *ids) for row, ids in zip(rows, encoder.encode(rows), strict=True)]
    encoded.sort(key=lambda entry: len(entry[1]) + len(entry[2]))
    return [encoded[start : start + size] for start in range(0, len(encoded), size)]


def _model(config: NanoConfig) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=config.hidden,
            intermediate_size=3 * config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            head_dim=HEAD_DIM,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )


def _multiply_in_bfloat16(model: Any) -> None:
    """Run the layers' matrix products in bfloat16 over float32 weights.

    They are two thirds of a step, and twice as fast so on a CPU that knows bfloat16. Attention
    stays in float32, where it is faster, unlike under autocast.
    """
    import torch

    def forward(layer: Any, inputs: Any) -> Any:
        half = torch.nn.functional.linear(inputs.bfloat16(), layer.weight.bfloat16())
        return half.float()

    for layer in model.model.modules():
        if isinstance(layer, torch.nn.Linear):
            setattr(layer, "forward", partial(forward, layer))  # noqa: B010


def _sampling() -> Any:
    """The settings that reasoning models are sampled with, for tools that read them."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )


def _step(
    model: Any, optimizers: Optimizers, rate: float, batch: Batch, *, pad: int, losses: Losses
) -> None:
    """One step of the optimizers; the loss a token of each example goes to `losses`."""
    import torch

    width = max(len(prompt) + len(completion) for _, prompt, completion in batch)
    ids = torch.full((len(batch), width), pad)
    counts = torch.zeros((len(batch), width), dtype=torch.bool)
    for place, (_, prompt, completion) in enumerate(batch):
        end = len(prompt) + len(completion)
        ids[place, :end] = torch.tensor(prompt + completion)
        counts[place, len(prompt) : end] = True
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    labels, mask = ids[:, 1:], counts[:, 1:]
    each = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[mask]), labels[mask], reduction="none"
    )
    each.mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizers.step(rate)
    spread = torch.zeros(mask.shape).masked_scatter_(mask, each.detach())
    for (task, *_), loss in zip(batch, (spread.sum(1) / mask.sum(1)).tolist(), strict=True):
        losses[task].append(loss)


def _save(path: Path, model: Any, optimizers: Optimizers, step: int) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    state = {"model": model.state_dict(), "optimizers": optimizers.state_dict(), "step": step}
    torch.save(state, temporary)
    temporary.replace(path)


def _restore(path: Path, model: Any, optimizers: Optimizers) -> int:
    """Steps done by the checkpoint, 0 without one. Tensors alone are loaded, never code."""
    import torch

    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizers.load_state_dict(state["optimizers"])
    return int(state["step"])


def _tell(step: int, losses: Losses) -> None:
    """Loss a token of each task since the last time: shows early what is not being learnt."""
    parts = [f"{task} {sum(values) / len(values):.3f}" for task, values in sorted(losses.items())]
    print(f"step {step}: " + ", ".join(parts), flush=True)
    losses.clear()

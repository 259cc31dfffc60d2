"""The transformers engine: batches sorted by length, finished rows leave, seeds a request.

Generation is one loop over the stock model and its key-value cache. A request's random numbers
come from a generator of its own, and a token is chosen by inverting the cumulative distribution
at one of them, so what is sampled does not depend on the batch (but for rounding: matrix products
of other shapes may differ in the last bit).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dgr.engines.base import Completion, Request, Sampling, Score, ScoreRequest
from dgr.engines.cache import new_cache
from dgr.engines.config import EngineConfig
from dgr.engines.memory import keep_freed_memory
from dgr.engines.sampling import choose
from dgr.errors import UserError
from dgr.records import Finish
from dgr.thinking import load_chat

COMPACT_BELOW = 0.75
"""Finished rows leave the batch once fewer than this share of its rows is running."""
LOGIT_BYTES = 1 << 29
"""Most memory that the float32 logits of one scoring batch may take."""
TAIL = 16
"""Tokens in which a closing tag that is not one token is looked for."""


@dataclass(frozen=True)
class Divergence:
    """KL(other || this model) in nats at each token of a completion."""

    key: str
    trace: Sequence[float]
    answer: Sequence[float]


@dataclass
class _Row:
    """A request that is being generated."""

    request: Request
    prompt: list[int]
    uniforms: np.ndarray[Any, np.dtype[np.float64]]
    limit: int
    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None


@dataclass(frozen=True)
class _Text:
    """A completion to score, as token ids."""

    key: str
    prompt: list[int]
    trace: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.trace + self.answer


class TransformersEngine:
    """Generates and scores with a model from a local folder, on the CPU or one GPU."""

    def __init__(self, config: EngineConfig, model: Path) -> None:
        keep_freed_memory()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        self.chat = load_chat(model, config.thinking)
        self.device = _device(config)
        self.model = self._load(model)
        own = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        limits = [limit for limit in (own, config.max_context) if limit]
        self.context_length: int = min(limits) if limits else 1 << 30
        self._stops = self.chat.stop_ids | _eos_ids(self.model)

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        """Whether prompt and generation fit the context."""
        prompt = self.chat.prompt_ids(request.question, request.trace, request.before)
        return len(prompt) + max_new_tokens <= self.context_length

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        """Completions in the order in which they finish; `UserError` for one that cannot fit."""
        rows = [self._row(request, sampling.max_new_tokens) for request in requests]
        rows.sort(key=lambda row: len(row.prompt))
        for start in range(0, len(rows), self.config.batch_size):
            batch = rows[start : start + self.config.batch_size]
            yield from map(self._completion, self._run(batch, sampling))

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Score]:
        """Log probabilities of the completion tokens, in nats."""
        for text, logits in self._forward([self.model], requests):
            labels = torch.tensor(text.trace + text.answer, device=self.device)
            found = logits[0].log_softmax(-1).gather(-1, labels[:, None])[:, 0].tolist()
            split = len(text.trace)
            yield Score(text.key, tuple(found[:split]), tuple(found[split:]))

    def compare(self, other: Path, requests: Iterable[ScoreRequest]) -> Iterator[Divergence]:
        """KL(other || this model) along given completions, summed over the whole vocabulary.

        `other` is the folder of a model with the same tokenizer, such as a tuned one.
        """
        models = [self.model, self._load(other)]
        for text, logits in self._forward(models, requests):
            own, tuned = (found.log_softmax(-1) for found in logits)
            found = (tuned.exp() * (tuned - own)).sum(-1).tolist()
            split = len(text.trace)
            yield Divergence(text.key, tuple(found[:split]), tuple(found[split:]))

    def _load(self, folder: Path) -> Any:
        return _load_model(folder, _dtype(self.config, self.device)).to(self.device).eval()

    def _row(self, request: Request, max_new_tokens: int) -> _Row:
        prompt = self.chat.prompt_ids(request.question, request.trace, request.before)
        if len(prompt) + max_new_tokens > self.context_length:
            raise UserError(
                f"request {request.key}: {len(prompt):,} prompt tokens and {max_new_tokens:,} "
                f"new ones exceed the context of {self.context_length:,}; "
                "lower max_new_tokens or leave the row out"
            )
        rng = np.random.Generator(np.random.Philox(request.seed))
        return _Row(request, prompt, rng.random(max_new_tokens), max_new_tokens)

    @torch.inference_mode()
    def _run(self, rows: list[_Row], sampling: Sampling) -> Iterator[_Row]:
        """Generate a batch; its rows come out as they finish."""
        width = max(len(row.prompt) for row in rows)
        ids = torch.tensor(
            [[0] * (width - len(row.prompt)) + row.prompt for row in rows], device=self.device
        )
        lengths = torch.tensor([len(row.prompt) for row in rows], device=self.device)
        room = torch.arange(width + sampling.max_new_tokens, device=self.device)
        mask = (room[None, :] >= width - lengths[:, None]).long()
        positions = (mask[:, :width].cumsum(-1) - 1).clamp(min=0)
        cache = new_cache(self.model.config)
        for step in range(sampling.max_new_tokens):
            logits = self.model(
                input_ids=ids,
                attention_mask=mask[:, : width + step],
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            uniforms = torch.tensor([row.uniforms[step] for row in rows], device=self.device)
            tokens = choose(logits, uniforms, sampling)
            yield from self._accept(rows, tokens.tolist())
            running = [place for place, row in enumerate(rows) if row.finish is None]
            if not running:
                return
            ids, positions = tokens[:, None], positions[:, -1:] + 1
            if len(running) < COMPACT_BELOW * len(rows):
                keep = torch.tensor(running, device=self.device)
                rows = [rows[place] for place in running]
                ids, positions, mask = ids[keep], positions[keep], mask[keep]
                cache.batch_select_indices(keep)

    def _accept(self, rows: list[_Row], tokens: list[int]) -> Iterator[_Row]:
        """Append a token to each running row; those that it finishes come out."""
        for row, token in zip(rows, tokens, strict=True):
            if row.finish is None:
                row.ids.append(token)
                row.finish = self._finish(row)
                if row.finish is not None:
                    yield row

    def _finish(self, row: _Row) -> Finish | None:
        token = row.ids[-1]
        if token in self._stops:
            return Finish.STOP
        if row.request.until == "trace" and row.request.trace is None and self._closes(row.ids):
            return Finish.STOP
        return Finish.LENGTH if len(row.ids) == row.limit else None

    def _closes(self, ids: list[int]) -> bool:
        """Whether the last token ended the thinking block."""
        if self.chat.close_id is not None:
            return ids[-1] == self.chat.close_id
        return self.chat.thinking.close_tag in self.chat.decode(ids[-TAIL:])

    def _completion(self, row: _Row) -> Completion:
        assert row.finish is not None
        if row.request.trace is None:
            parsed = self.chat.parse(row.ids)
            trace, answer, closed = parsed.trace, parsed.answer, parsed.closed
        else:
            trace, answer, closed = row.request.trace, self.chat.decode(row.ids).strip(), True
        return Completion(row.request.key, trace, answer, closed, row.finish, len(row.ids))

    @torch.inference_mode()
    def _forward(
        self, models: Sequence[Any], requests: Iterable[ScoreRequest]
    ) -> Iterator[tuple[_Text, list[torch.Tensor]]]:
        """Each text with every model's float32 logits at its completion, [tokens, vocabulary]."""
        texts = sorted(map(self._text, requests), key=lambda text: len(text.ids))
        for batch in self._score_batches(texts):
            width = len(batch[-1].ids)
            ids = torch.tensor(
                [text.ids + [0] * (width - len(text.ids)) for text in batch], device=self.device
            )
            # Right padding: causal attention never sees it, so no mask is needed.
            logits = [model(input_ids=ids, use_cache=False).logits for model in models]
            for place, text in enumerate(batch):
                span = slice(len(text.prompt) - 1, len(text.ids) - 1)
                yield text, [found[place, span].float() for found in logits]

    def _text(self, request: ScoreRequest) -> _Text:
        trace, answer = self.chat.completion_parts(request.trace, request.answer)
        text = _Text(request.key, self.chat.prompt_ids(request.question), trace, answer)
        if len(text.ids) > self.context_length:
            raise UserError(
                f"row {request.key} has {len(text.ids):,} tokens and the context of the model is "
                f"{self.context_length:,}; leave the row out"
            )
        return text

    def _score_batches(self, texts: list[_Text]) -> Iterator[list[_Text]]:
        """Neighbours in length, as many as the budget of padded tokens allows."""
        vocabulary = self.model.config.get_text_config().vocab_size
        budget = max(1, min(self.config.batch_tokens, LOGIT_BYTES // (4 * vocabulary)))
        batch: list[_Text] = []
        for text in texts:
            if batch and (len(batch) + 1) * len(text.ids) > budget:
                yield batch
                batch = []
            batch.append(text)
        if batch:
            yield batch


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the model in {folder} cannot be loaded: {reason}") from None


def _device(config: EngineConfig) -> torch.device:
    found = torch.cuda.is_available()
    if config.device == "cuda" and not found:
        raise UserError("engine.device is cuda but no GPU is found; set it to auto or cpu")
    return torch.device("cuda" if found and config.device != "cpu" else "cpu")


def _dtype(config: EngineConfig, device: torch.device) -> torch.dtype:
    if config.dtype != "auto":
        found: torch.dtype = getattr(torch, config.dtype)
        return found
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _eos_ids(model: Any) -> frozenset[int]:
    eos = model.generation_config.eos_token_id
    if eos is None:
        return frozenset()
    return frozenset(eos if isinstance(eos, list) else [eos])

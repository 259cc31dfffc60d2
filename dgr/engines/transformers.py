"""The transformers engine: full batches, finished rows leave and others follow, seeds a request.

Generation is one loop over the stock model and its key-value cache. A request's random numbers
come from a generator of its own, and a token is chosen by inverting the cumulative distribution
at one of them, so what is sampled does not depend on the batch (but for rounding: matrix products
of other shapes may differ in the last bit).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dgr.engines.adapters import check_adapter
from dgr.engines.base import (
    Completion,
    Divergence,
    Request,
    Requests,
    Sampling,
    Score,
    ScoreRequest,
)
from dgr.engines.batch import Batch, Row
from dgr.engines.config import TransformersConfig
from dgr.engines.memory import is_out_of_memory, keep_freed_memory
from dgr.engines.sampling import choose
from dgr.engines.turns import Text, Turns
from dgr.engines.waiting import Waiting
from dgr.errors import UserError

COMPACT_BELOW = 0.75
"""Finished rows leave the batch, and waiting ones follow, once fewer than this share runs."""
JOIN_FROM = 1 / COMPACT_BELOW - 1
"""Rows follow once they are so many for each that runs: to let them in copies the cache."""
WINDOW = 16
"""Batches of requests that wait at most, sorted by length."""
BUSY_TOKENS, SLACK = 2_048, 1 / 16
"""A scoring batch of so many tokens keeps any device busy: it takes no text that is longer than its
shortest by more than this share, so that little of it is padding."""
LOGIT_BYTES = 1 << 29
"""Most memory that the float32 logits of one scoring batch may take."""


class TransformersEngine:
    """Generates and scores with a model from a local folder, on the CPU or one GPU."""

    def __init__(self, config: TransformersConfig, model: Path) -> None:
        keep_freed_memory()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        self.turns = Turns(model, config.thinking, config.max_context)
        self.chat, self.context_length = self.turns.chat, self.turns.context_length
        self.device = _device(config)
        self.model = self._load(model)
        self._rows, self._tokens = config.batch_size, config.batch_tokens
        """Sizes of batches; halved where memory does not do."""
        self._adapters: dict[Path, str] = {}

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        """Whether prompt and generation fit the context."""
        return self.turns.fits(request, max_new_tokens)

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
        """Completions in the order in which they finish; `UserError` for one that cannot fit."""
        limit = sampling.max_new_tokens

        def row_of(request: Request) -> Row:
            return Row(request, self.turns.prompt(request, limit), limit)

        waiting = Waiting(requests, WINDOW * self.config.batch_size, row_of)
        while waiting.turn():
            with self._adapted(waiting.adapter):
                for row in self._run(waiting, sampling):
                    assert row.finish is not None
                    found = self.turns.completion(row.request, row.ids, row.finish)
                    yield replace(found, prompt_tokens=len(row.prompt))

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

    @contextmanager
    def _adapted(self, adapter: Path | None) -> Iterator[None]:
        """The model with a LoRA adapter on it, for the while."""
        if adapter is None:
            yield
            return
        if adapter not in self._adapters:
            check_adapter(adapter)
            name = f"adapter{len(self._adapters)}"
            self.model.load_adapter(str(adapter.resolve()), adapter_name=name)
            self._adapters[adapter] = name
        self.model.set_adapter(self._adapters[adapter])
        self.model.enable_adapters()
        try:
            yield
        finally:
            self.model.disable_adapters()

    @torch.inference_mode()
    def _run(self, waiting: Waiting, sampling: Sampling) -> Iterator[Row]:
        """Generate the rows of one adapter, as many at a time as the batch holds; they come as they
        finish."""
        batch: Batch | None = None
        while started := waiting.take(self._rows, running=0):
            try:
                batch = Batch(self.model, started, self.device)
                while batch is not None:
                    yield from self._step(batch, sampling)
                    if batch.running < COMPACT_BELOW * len(batch.rows):
                        batch = batch.without_finished()
                    if batch is not None and self._has_room(batch):
                        more = waiting.take(
                            self._rows - batch.running, batch.running, JOIN_FROM * batch.running
                        )
                        started = batch.rows + more
                        yield from self._join(batch, more, sampling)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._rows = _halved(self._rows, error)
                batch = None
                # What those that run have said so far is part of their prompts now.
                waiting.put_back(row for row in started if row.finish is None)

    def _join(self, batch: Batch, rows: list[Row], sampling: Sampling) -> Iterator[Row]:
        """Let rows into a batch that runs."""
        if rows:
            new = Batch(self.model, rows, self.device)
            yield from self._step(new, sampling)
            batch.take_in(new)

    def _has_room(self, batch: Batch) -> bool:
        return batch.can_grow and batch.running < COMPACT_BELOW * self._rows

    def _step(self, batch: Batch, sampling: Sampling) -> Iterator[Row]:
        """A token for each running row; those that it finishes come out."""
        tokens = choose(batch.next_logits(), batch.uniforms(), sampling)
        for row, token in batch.advance(tokens):
            row.ids.append(token)
            row.finish = self.turns.finish(row.request, row.ids, row.limit)
            if row.finish is not None:
                yield row

    @torch.inference_mode()
    def _forward(
        self, models: Sequence[Any], requests: Iterable[ScoreRequest]
    ) -> Iterator[tuple[Text, list[torch.Tensor]]]:
        """Each text with every model's float32 logits at its completion, [tokens, vocabulary]."""
        waiting = deque(sorted(map(self.turns.text, requests), key=lambda text: text.tokens))
        while waiting:
            batch = self._neighbours(waiting)
            try:
                logits = self._logits(models, batch)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                padded = len(batch) * batch[-1].tokens
                self._tokens = _halved(padded if len(batch) > 1 else 1, error)
                waiting.extendleft(reversed(batch))
                continue
            for place, text in enumerate(batch):
                span = slice(len(text.prompt) - 1, text.tokens - 1)
                yield text, [found[place, span].float() for found in logits]

    def _logits(self, models: Sequence[Any], batch: Sequence[Text]) -> list[torch.Tensor]:
        width = batch[-1].tokens
        ids = torch.tensor(
            [text.ids + [0] * (width - text.tokens) for text in batch], device=self.device
        )
        # Right padding: causal attention never sees it, so no mask is needed.
        return [model(input_ids=ids, use_cache=False).logits for model in models]

    def _neighbours(self, texts: deque[Text]) -> list[Text]:
        """The next ones, as many as the budget of padded tokens allows."""
        vocabulary = self.model.config.get_text_config().vocab_size
        budget = max(1, min(self._tokens, LOGIT_BYTES // (4 * vocabulary)))
        batch = [texts.popleft()]
        longest = (1 + SLACK) * batch[0].tokens
        while texts:
            padded = (len(batch) + 1) * texts[0].tokens
            if padded > (budget if texts[0].tokens <= longest else min(budget, BUSY_TOKENS)):
                break
            batch.append(texts.popleft())
        return batch


def _halved(size: int, error: Exception) -> int:
    """Half of what memory did not do for; any other error, and no more to halve, is raised."""
    if not is_out_of_memory(error):
        raise error
    if size == 1:
        raise UserError(
            "the memory does not do for a single completion; lower max_new_tokens or "
            "engine.max_context, or take a machine or a GPU with more"
        ) from None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return size // 2


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


def _device(config: TransformersConfig) -> torch.device:
    found = torch.cuda.is_available()
    if config.device == "cuda" and not found:
        raise UserError("engine.device is cuda but no GPU is found; set it to auto or cpu")
    return torch.device("cuda" if found and config.device != "cpu" else "cpu")


def _dtype(config: TransformersConfig, device: torch.device) -> torch.dtype:
    if config.dtype != "auto":
        found: torch.dtype = getattr(torch, config.dtype)
        return found
    return torch.bfloat16 if device.type == "cuda" else torch.float32

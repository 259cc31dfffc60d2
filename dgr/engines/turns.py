"""From requests to token ids and back: what all engines share, so that they mean the same.

Prompts are made here and nowhere else. They go to an engine as token ids, never as text that it
would tokenise again: `</think>` or `<|im_end|>` in a question stays the text that it is.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from dgr.engines.base import Completion, Request, ScoreRequest
from dgr.engines.prompts import encode
from dgr.errors import UserError
from dgr.records import Finish
from dgr.thinking import load_chat

JUST_ASKED = 16
"""Prompts that are remembered."""
TAIL = 16
"""Tokens in which a closing tag that is not one token is looked for."""
_UNBOUNDED = 1 << 30


@dataclass(frozen=True)
class Text:
    """A completion to score, as token ids."""

    key: str
    prompt: list[int]
    trace: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.trace + self.answer

    @property
    def tokens(self) -> int:
        return len(self.prompt) + len(self.trace) + len(self.answer)


class Turns:
    """Requests and completions of the model in a local folder, of which no weights are read."""

    def __init__(
        self,
        model: Path,
        thinking: Literal["auto", "r1", "s1", "none"] = "auto",
        max_context: int | None = None,
    ) -> None:
        own, eos = _limits(model)
        self.chat = load_chat(model, thinking)
        limits = [limit for limit in (own, max_context) if limit]
        self.context_length = min(limits) if limits else _UNBOUNDED
        self.stops = self.chat.stop_ids | eos
        """Tokens that end a completion."""
        # Whether a request fits is asked just before it is made, and tokenising is not for nothing.
        self._prompt = lru_cache(JUST_ASKED)(self._prompt_of)

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        """Whether prompt and generation fit the context."""
        return len(self._prompt(request)) + max_new_tokens <= self.context_length

    def _prompt_of(self, request: Request) -> list[int]:
        if request.prompt is not None:
            return encode(self.chat.tokenizer, request.prompt)
        return self.chat.prompt_ids(request.question, request.trace, request.before)

    def prompt(self, request: Request, max_new_tokens: int) -> list[int]:
        """What the model goes on from; `UserError` where prompt and generation do not fit."""
        prompt = self._prompt(request)
        if len(prompt) + max_new_tokens > self.context_length:
            raise UserError(
                f"request {request.key}: {len(prompt):,} prompt tokens and {max_new_tokens:,} "
                f"new ones exceed the context of {self.context_length:,}; "
                "lower max_new_tokens or leave the row out"
            )
        return prompt

    def text(self, request: ScoreRequest, room: int = 0) -> Text:
        """A completion to score; `UserError` where it does not fit with `room` tokens to spare."""
        trace, answer = self.chat.completion_parts(request.trace, request.answer)
        text = Text(request.key, self.chat.prompt_ids(request.question), trace, answer)
        tokens = len(text.ids) + room
        if tokens > self.context_length:
            raise UserError(
                f"row {request.key} has {tokens:,} tokens and the context of the model is "
                f"{self.context_length:,}; leave the row out"
            )
        return text

    @staticmethod
    def wants_close(request: Request) -> bool:
        """Whether the completion ends where the thinking block does."""
        return request.until == "trace" and request.trace is None

    def finish(self, request: Request, ids: list[int], limit: int) -> Finish | None:
        """How a completion has ended with its last token; None: it goes on."""
        if ids[-1] in self.stops or (self.wants_close(request) and self._closes(ids)):
            return Finish.STOP
        return Finish.LENGTH if len(ids) >= limit else None

    def _closes(self, ids: list[int]) -> bool:
        """Whether the last token ended the thinking block."""
        if self.chat.close_id is not None:
            return ids[-1] == self.chat.close_id
        return self.chat.thinking.close_tag in self.chat.decode(ids[-TAIL:])

    def completion(self, request: Request, ids: list[int], finish: Finish) -> Completion:
        """Generated ids in their parts."""
        # Of the reply to a whole prompt nothing is parsed, so its end token must go.
        said = ids[:-1] if request.prompt is not None and ids[-1] in self.stops else ids
        return self.completion_of_text(request, self.chat.decode(said), finish, len(ids))

    def completion_of_text(
        self, request: Request, text: str, finish: Finish, tokens: int
    ) -> Completion:
        """The same of the text that was generated."""
        if request.prompt is not None:
            return Completion(request.key, "", text, True, finish, tokens)
        if request.trace is not None:
            return Completion(request.key, request.trace, text.strip(), True, finish, tokens)
        parsed = self.chat.thinking.split(text)
        return Completion(request.key, parsed.trace, parsed.answer, parsed.closed, finish, tokens)

    def up_to_close(self, request: Request, found: Completion) -> Completion:
        """A completion that went on to its end, up to where it was to end."""
        if not (self.wants_close(request) and found.closed):
            return found
        return replace(found, answer="", finish=Finish.STOP)


def _limits(model: Path) -> tuple[int | None, frozenset[int]]:
    """Context and end tokens that the model's own files name."""
    from transformers import AutoConfig, GenerationConfig

    try:
        config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the model in {model} cannot be loaded: {reason}") from None
    try:
        generation = GenerationConfig.from_pretrained(model, local_files_only=True)
    except OSError:
        generation = GenerationConfig.from_model_config(config)
    eos = generation.eos_token_id
    found = eos if isinstance(eos, list) else [] if eos is None else [eos]
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    return context, frozenset(found)

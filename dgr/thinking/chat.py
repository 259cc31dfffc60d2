"""Questions, traces and answers as token ids of one model.

The chat template is rendered once around a placeholder; the scaffold around it is tokenised with
special tokens, what users and data sets wrote without. So `</think>` or `<|im_end|>` inside a
question stays text, a template that strips the think block from assistant turns (R1's) cannot
drop a trace from training, and one that opens the block in the generation prompt is no different
from one that does not.

The pieces are tokenised apart. Byte-level BPE never merges across a special token or a line
break, which is where the pieces meet, so the ids equal those of the whole text.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dgr.errors import UserError
from dgr.thinking.formats import FORMATS, R1, Parsed, ThinkingFormat, detect

_PLACEHOLDER = "dgr0placeholder0dgr"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")


def load_chat(model: Path, thinking: Literal["auto", "r1", "s1", "none"] = "auto") -> "ChatFormat":
    """The chat format of a model folder; `UserError` without tokenizer or chat template.

    With `none`, for models that are given whole prompts, the template is left aside: a turn ends
    with the tokenizer's end token.
    """
    from transformers import AutoTokenizer

    if not any((model / name).is_file() for name in _TOKENIZER_FILES):
        raise UserError(f"model folder {model} has no tokenizer files ({_TOKENIZER_FILES[0]})")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the tokenizer in {model} cannot be loaded: {reason}") from None
    if thinking == "none":
        tokenizer.chat_template = None
        return ChatFormat(tokenizer, R1)
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise UserError(
            f"model folder {model} has no chat template; add chat_template.jinja, "
            "or use the model's instruction-tuned release"
        )
    form = detect(str(template)) if thinking == "auto" else FORMATS[thinking]
    return ChatFormat(tokenizer, form)


class ChatFormat:
    """Renders and reads the turns of one model. All ids are plain Python integers."""

    def __init__(self, tokenizer: Any, thinking: ThinkingFormat) -> None:
        self.tokenizer, self.thinking = tokenizer, thinking
        self._opening = self._scaffold(thinking.opening)
        self._closing = self._scaffold(thinking.closing)
        self._scaffolds: dict[tuple[str, ...], list[list[int]]] = {}

    def prompt_ids(
        self, question: str, trace: str | None = None, before: Sequence[tuple[str, str]] = ()
    ) -> list[int]:
        """The question's turn and the start of the reply, up to where the model goes on.

        `trace` None: the thinking block is open, nothing in it. A text: the block is filled with
        it and closed (empty text: an empty block), and the answer is next. `before` holds the
        earlier turns of a conversation, each a role and a text.
        """
        turns = [*before, ("user", question)]
        first, *others = self._turns(tuple(role for role, _ in turns))
        ids = list(first)
        for (_, text), scaffold in zip(turns, others, strict=True):
            ids += self._text(text) + scaffold
        ids += self._opening
        return ids if trace is None else ids + self._text(trace) + self._closing

    def completion_parts(self, trace: str, answer: str) -> tuple[list[int], list[int]]:
        """What the model says after `prompt_ids(question)`: (trace and closing tag, answer and
        end of turn)."""
        return self._text(trace) + self._closing, [*self._text(answer), self.end_id]

    def completion_ids(self, trace: str, answer: str) -> list[int]:
        """Both parts of a completion in one list."""
        first, second = self.completion_parts(trace, answer)
        return first + second

    def decode(self, ids: list[int]) -> str:
        """Generated ids as text, tags included, without the end of the turn."""
        while ids and ids[-1] in self.stop_ids:
            ids = ids[:-1]
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def text_of(self, token: int) -> str:
        """One token as text, a special one too."""
        text: str = self.tokenizer.decode([token], skip_special_tokens=False)
        return text

    def parse(self, ids: list[int]) -> Parsed:
        """Generated ids, from the open thinking block on, in their parts."""
        return self.thinking.split(self.decode(ids))

    @cached_property
    def close_id(self) -> int | None:
        """The closing tag as one token, where the vocabulary has it."""
        ids = self._scaffold(self.thinking.close_tag)
        return ids[0] if len(ids) == 1 else None

    @cached_property
    def end_id(self) -> int:
        """The token with which the template ends an assistant's turn."""
        messages = [
            {"role": "user", "content": "."},
            {"role": "assistant", "content": _PLACEHOLDER},
        ]
        rendered = self._render(messages, prompt=False) if self.tokenizer.chat_template else ""
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        for token in self._scaffold(rendered.rpartition(_PLACEHOLDER)[2]):
            if token in special:
                return token
        if self.tokenizer.eos_token_id is None:
            raise UserError(
                f"the tokenizer in {self.tokenizer.name_or_path} names no end-of-turn token"
            )
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a turn."""
        eos = self.tokenizer.eos_token_id
        return frozenset({self.end_id} | ({int(eos)} if eos is not None else set()))

    def _turns(self, roles: tuple[str, ...]) -> list[list[int]]:
        """The scaffold before, between and after the texts of a conversation."""
        if roles in self._scaffolds:
            return self._scaffolds[roles]
        marks = [f"{_PLACEHOLDER}{number}." for number in range(len(roles))]
        messages = [
            {"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)
        ]
        rest, pieces = self._render(messages, prompt=True), []
        if any(rest.count(mark) != 1 for mark in marks):
            raise UserError(
                f"the chat template in {self.tokenizer.name_or_path} does not show the user's "
                "message exactly once"
            )
        for mark in marks:
            piece, _, rest = rest.partition(mark)
            pieces.append(piece)
        stripped = rest.rstrip()
        if stripped.endswith(self.thinking.open_tag):
            rest = stripped.removesuffix(self.thinking.open_tag)
        self._scaffolds[roles] = [self._scaffold(piece) for piece in (*pieces, rest)]
        return self._scaffolds[roles]

    def _render(self, messages: list[dict[str, str]], prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            rendered: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt
            )
        except TemplateError as error:
            raise UserError(
                f"the chat template in {self.tokenizer.name_or_path} cannot be rendered: {error}"
            ) from None
        return rendered

    def _scaffold(self, text: str) -> list[int]:
        return self._ids(text, as_text=False)

    def _text(self, text: str) -> list[int]:
        return self._ids(text, as_text=True)

    def _ids(self, text: str, as_text: bool) -> list[int]:
        if not text:
            return []
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=as_text)
        ids: list[int] = list(encoded["input_ids"])
        return ids

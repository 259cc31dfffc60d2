"""The engine that asks a server: anything that speaks OpenAI's API, such as vLLM or SGLang.

Prompts go to `/completions` as token ids, so the server neither renders a template nor takes a
tag in a question for one. Only with `api: chat` does it do both.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from dgr.engines.base import (
    Completion,
    Divergence,
    Engine,
    Request,
    Requests,
    Sampling,
    Score,
    ScoreRequest,
)
from dgr.engines.config import OpenAIConfig
from dgr.engines.crowd import Crowd, Window
from dgr.engines.http import Client, Failure
from dgr.engines.load import is_place_of, load_local
from dgr.engines.turns import Text, Turns
from dgr.errors import UserError
from dgr.records import Finish

PROBE_ATTEMPTS = 3
PROBE_SECONDS = 10.0
_FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH}
_PLAIN = {
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}
"""Tags come back as text, and nothing in the model's folder bends the distribution."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class ServedModel:
    """A model that a server offers."""

    name: str
    context: int | None


def served_name(config: OpenAIConfig, model: Path) -> str | None:
    """The server's name for a model or an adapter; None for one that it does not serve.

    `UserError` for that where the config wants none but served ones.
    """
    for source, name in config.served.items():
        if is_place_of(source, model):
            return name
    if config.unserved == "refuse":
        raise UserError(
            f"engine.served does not name {model}; add it with its name on {config.url}, or set "
            "engine.unserved: transformers"
        )
    return None


def served_models(config: OpenAIConfig) -> list[ServedModel] | None:
    """What the server offers; None where it does not tell. `UserError` if it does not answer."""
    client = _client(config, attempts=PROBE_ATTEMPTS, timeout_s=PROBE_SECONDS, connections=1)
    try:
        return client.ask("/models", read=_read_models)
    except Failure as failure:
        if failure.missing:
            return None
        raise UserError(
            f"the server at {config.url} {failure.reason}; start it or correct engine.url"
        ) from None


class OpenAIEngine:
    """Generates on a server; scores there too, or with the transformers engine beside it."""

    def __init__(self, config: OpenAIConfig, model: Path, name: str) -> None:
        self.config, self._model, self._name = config, model, name
        self.turns = Turns(model, config.thinking, config.max_context)
        self._client = _client(
            config,
            attempts=config.attempts,
            timeout_s=config.timeout_s,
            connections=config.max_concurrency,
        )
        self._window = Window(config.max_concurrency)

    @cached_property
    def context_length(self) -> int:
        """The model's context, or the server's where that is less. Asks the server."""
        found = served_models(self.config)
        for served in found or []:
            if served.name == self._name:
                self.turns.context_length = min(
                    self.turns.context_length, served.context or self.turns.context_length
                )
                return self.turns.context_length
        if found:
            names = ", ".join(served.name for served in found)
            raise UserError(
                f"the server at {self.config.url} does not serve {self._name} but {names}; "
                "correct engine.served"
            )
        return self.turns.context_length

    @cached_property
    def _local(self) -> Engine:
        return load_local(self.config, self._model)

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        """Whether prompt and generation fit the context."""
        return self.context_length > 0 and self.turns.fits(request, max_new_tokens)

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
        """Completions as they come; `UserError` at the end, once, for those that do not."""
        _ = self.context_length  # a server that is not there is told of before any work
        jobs = (
            (request, self._body(request, sampling)) if request else None for request in requests
        )
        chat = self.config.api == "chat"

        def work(job: tuple[Request, dict[str, Any]]) -> Completion:
            request, body = job
            read = self._read_chat if chat else self._read_text
            return self._ask(
                "/chat/completions" if chat else "/completions",
                body,
                lambda answer: replace(
                    read(request, answer), prompt_tokens=_tokens(answer, "prompt_tokens")
                ),
            )

        yield from self._all(work, jobs, "completions")

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Score]:
        """Log probabilities of the completion tokens, in nats."""
        if self.config.scoring == "transformers":
            yield from self._local.score(requests)
            return
        _ = self.context_length

        def work(text: Text) -> Score:
            body = self._with_extra({"prompt": text.ids, "max_tokens": 1, "prompt_logprobs": 0})
            return self._ask("/completions", body, lambda answer: _read_score(text, answer))

        texts = (self.turns.text(request, room=1) for request in requests)
        yield from self._all(work, texts, "scores")

    def compare(self, other: Path, requests: Iterable[ScoreRequest]) -> Iterator[Divergence]:
        """KL(other || this model): always by the transformers engine, over whole distributions."""
        return self._local.compare(other, requests)

    def _all(
        self, work: Callable[[ItemT], ResultT], items: Iterable[ItemT | None], what: str
    ) -> Iterator[ResultT]:
        crowd = Crowd(work, self._window)
        yield from crowd.over(items)
        if crowd.failures:
            raise UserError(self._missing(crowd, what))

    def _missing(self, crowd: Crowd[Any, Any], what: str) -> str:
        """What there is to say of requests without an answer."""
        reasons = Counter(failure.reason for failure in crowd.failures).most_common(3)
        told = " and ".join(f"{reason} ({count} x)" for reason, count in reasons)
        rest = ", and more were not tried" if crowd.gave_up else ""
        return (
            f"{len(crowd.failures):,} of {crowd.tried:,} {what} are missing{rest}: the server at "
            f"{self.config.url} {told}; what came is kept, so mend that and run the same command "
            "again to go on"
        )

    def _ask(self, path: str, body: dict[str, Any], read: Callable[[Any], ResultT]) -> ResultT:
        """One answer, with its effect on how many are asked for at once."""
        found = self._client.ask(path, body, read=read, crowded=self._window.was_too_much)
        self._window.went_well()
        return found

    def _body(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        """What the server is asked; `UserError` for a request that it cannot be asked."""
        prompt = self.turns.prompt(request, sampling.max_new_tokens)
        body: dict[str, Any] = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
            **_PLAIN,
        }
        if request.adapter is not None:
            body["model"] = self._adapter_name(request.adapter)
        if self.config.api == "chat":
            if request.trace is not None or request.prompt is not None:
                what = "pre-fills the trace" if request.prompt is None else "is a whole prompt"
                raise UserError(
                    f"request {request.key} {what}, which engine.api: chat cannot; "
                    "set engine.api: completions"
                )
            turns = [*request.before, ("user", request.question)]
            messages = [{"role": role, "content": text} for role, text in turns]
            return self._with_extra(body | {"messages": messages})
        body |= {"prompt": prompt, "return_token_ids": True, "include_stop_str_in_output": True}
        return self._with_extra(body | self._ends(request))

    def _ends(self, request: Request) -> dict[str, Any]:
        """Where the server is to end."""
        stops, close = set(self.turns.stops), self.turns.chat.close_id
        if not self.turns.wants_close(request):
            return {"stop_token_ids": sorted(stops)}
        if close is not None:
            return {"stop_token_ids": sorted(stops | {close})}
        return {"stop_token_ids": sorted(stops), "stop": [self.turns.chat.thinking.close_tag]}

    def _with_extra(self, body: dict[str, Any]) -> dict[str, Any]:
        whole = {"model": self._name, **body, **self.config.extra}
        return {name: value for name, value in whole.items() if value is not None}

    def _adapter_name(self, adapter: Path) -> str:
        name = served_name(self.config.model_copy(update={"unserved": "refuse"}), adapter)
        assert name is not None
        return name

    def _read_text(self, request: Request, answer: Any) -> Completion:
        """A completion by its ids where the server gives them (vLLM), else by its text."""
        choice = _choice(answer)
        ids = choice.get("token_ids")
        if ids is not None:
            if not (isinstance(ids, list) and all(type(token) is int for token in ids)):
                raise _rubbish("token_ids")
            return self.turns.completion(request, ids, _finish(choice))
        text = choice.get("text")
        if not isinstance(text, str):
            raise _rubbish("text")
        return self.turns.completion_of_text(
            request, self._without_end(text), _finish(choice), _tokens(answer)
        )

    def _read_chat(self, request: Request, answer: Any) -> Completion:
        """A completion whose trace the server has parted from the answer, or with its raw tags."""
        choice = _choice(answer)
        message = choice.get("message")
        if not isinstance(message, dict):
            raise _rubbish("message")
        content = message.get("content") or ""
        trace = message.get("reasoning_content") or message.get("reasoning")
        finish, tokens = _finish(choice), _tokens(answer)
        if not isinstance(content, str) or not isinstance(trace or "", str):
            raise _rubbish("content")
        if trace is None:
            text = self._without_end(content)
            found = self.turns.completion_of_text(request, text, finish, tokens)
        else:
            answered = self._without_end(content).strip()
            found = Completion(request.key, trace.strip(), answered, bool(answered), finish, tokens)
        return self.turns.up_to_close(request, found)

    def _without_end(self, text: str) -> str:
        """The text without that of an end token, which some servers give."""
        for token in self.turns.stops:
            text = text.removesuffix(self.turns.chat.text_of(token))
        return text


def _client(config: OpenAIConfig, *, attempts: int, timeout_s: float, connections: int) -> Client:
    key = os.environ.get(config.key_env) if config.key_env else None
    if config.key_env and not key:
        raise UserError(f"{config.key_env} is not set; put the key of {config.url} into it")
    return Client(config.url, key, attempts=attempts, timeout_s=timeout_s, connections=connections)


def _read_models(answer: Any) -> list[ServedModel]:
    try:
        found = [ServedModel(row["id"], row.get("max_model_len")) for row in answer["data"]]
    except (KeyError, TypeError, AttributeError):
        raise _rubbish("data") from None
    if not all(isinstance(row.context, int | None) for row in found):
        raise _rubbish("max_model_len")
    return found


def _choice(answer: Any) -> dict[str, Any]:
    try:
        choice = answer["choices"][0]
    except (KeyError, IndexError, TypeError):
        raise _rubbish("choices") from None
    if not isinstance(choice, dict):
        raise _rubbish("choices")
    return choice


def _finish(choice: dict[str, Any]) -> Finish:
    """Stopped or cut; an answer that ended otherwise (aborted, filtered) is none."""
    finish = _FINISHES.get(str(choice.get("finish_reason")))
    if finish is None:
        raise _rubbish("finish_reason")
    return finish


def _tokens(answer: Any, which: str = "completion_tokens") -> int:
    try:
        return int(answer["usage"][which])
    except (KeyError, TypeError, ValueError):
        raise _rubbish(f"usage.{which}") from None


def _read_score(text: Text, answer: Any) -> Score:
    """Of a prompt's log probabilities (vLLM's `prompt_logprobs`) those of the completion."""
    choice = _choice(answer)
    _finish(choice)
    entries = choice.get("prompt_logprobs")
    if entries is None:
        raise Failure(
            "returns no prompt log-probabilities (set engine.scoring: transformers)",
            everywhere=True,
        )
    start, ids = len(text.prompt), text.ids
    try:
        found = [
            float(entries[place][str(ids[place])]["logprob"]) for place in range(start, len(ids))
        ]
    except (KeyError, IndexError, TypeError, ValueError):
        raise _rubbish("prompt_logprobs") from None
    split = len(text.trace)
    return Score(text.key, tuple(found[:split]), tuple(found[split:]))


def _rubbish(field: str) -> Failure:
    return Failure(f"answered without a sound {field}", again=True)

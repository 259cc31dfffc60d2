"""inspect_ai's model provider over an engine: `inspect eval task.py --model dgr/models/nano-lrm`.

inspect_ai asks one message at a time from many coroutines; the engine answers batches. A thread
between them gathers what is asked while the engine is busy.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, Queue
from threading import Thread
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.solver._task_state import sample_state  # whose sample it is: seeds hang on it
from pydantic import TypeAdapter

from dgr.completions import CompletionRow
from dgr.engines import EngineConfig, load_engine, resolve_model
from dgr.engines.base import Completion, Engine, Request, Sampling
from dgr.errors import UserError
from dgr.files import canonical_json, sha256_text
from dgr.journal import Journal
from dgr.records import Finish
from dgr.seeds import derive

AT_ONCE = 256
"""Messages that inspect_ai asks at once."""
QUIET = 0.05
"""Seconds without a new message after which a batch is closed."""
LONGEST = 32_768
"""New tokens, where neither the task nor the command says how many."""

_Asked = tuple[Request, Sampling, "Future[Completion]"]


@modelapi(name="dgr")
class DgrAPI(ModelAPI):
    """A model of dgr. `sampling` overrules whatever tasks and solvers say of decoding."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - inspect_ai's own signature
        *,
        engine: Any = None,
        loaded: Engine | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
        suite: str = "",
        journal: Journal[CompletionRow] | None = None,
    ) -> None:
        """`engine` is the config of one (a dictionary), `loaded` one that is there already."""
        super().__init__(model_name, base_url, api_key, [], config)
        self._sampling, self._seed, self._suite = sampling, seed, suite
        self._asked: Counter[str] = Counter()
        if loaded is None:
            settings = TypeAdapter(EngineConfig).validate_python(engine or {})
            loaded = load_engine(settings, resolve_model(model_name))
        self._context = loaded.context_length
        self._batches = Batches(loaded, journal)

    async def generate(
        self, input: list[ChatMessage], tools: Any, tool_choice: Any, config: GenerateConfig
    ) -> ModelOutput:
        if tools:
            raise UserError(f"dgr/{self.model_name} calls no tools; choose a task without them")
        request = self._request(input)
        completion = await self._batches.ask(request, self._decoding(config))
        return _output(self.model_name, completion, config.stop_seqs or [])

    def max_connections(self) -> int:
        return AT_ONCE

    async def aclose(self) -> None:
        self._batches.close()

    def _request(self, messages: Sequence[ChatMessage]) -> Request:
        turns = tuple(_turn(message) for message in messages)
        if not turns or turns[-1][0] != "user":
            raise UserError("the last message must be the user's: traces are not begun by others")
        state = sample_state()
        whose = f"{state.sample_id}/{state.epoch}" if state else ""
        asked = f"{self._suite}/{whose}/{sha256_text(canonical_json(turns))}"
        key = f"{asked}/{self._asked[asked]}"
        self._asked[asked] += 1
        return Request(key, turns[-1][1], seed=derive(self._seed, key), before=turns[:-1])

    def _decoding(self, config: GenerateConfig) -> Sampling:
        if self._sampling is not None:
            return self._sampling
        usual = Sampling()
        return Sampling(
            usual.temperature if config.temperature is None else config.temperature,
            usual.top_p if config.top_p is None else config.top_p,
            config.max_tokens or min(LONGEST, self._context // 2),
        )


def _turn(message: ChatMessage) -> tuple[str, str]:
    """Role and text; of an earlier reply the answer alone, as chat templates have it."""
    content = message.content
    kinds = set() if isinstance(content, str) else {part.type for part in content}
    if message.role == "tool" or kinds - {"text", "reasoning"}:
        raise UserError("the task sends more than text; choose a task of text alone")
    return message.role, message.text


def _output(model: str, completion: Completion, stops: Sequence[str]) -> ModelOutput:
    """Stop strings end the answer; inside the trace they are words like others."""
    answer = completion.answer
    for stop in stops:
        answer = answer.partition(stop)[0].rstrip()
    content: list[Content] = [
        ContentReasoning(reasoning=completion.trace),
        ContentText(text=answer),
    ]
    message = ChatMessageAssistant(content=content, model=model, source="generate")
    cut = completion.finish is Finish.LENGTH
    choice = ChatCompletionChoice(message=message, stop_reason="max_tokens" if cut else "stop")
    usage = ModelUsage(output_tokens=completion.tokens, total_tokens=completion.tokens)
    return ModelOutput(model=model, choices=[choice], usage=usage)


class Batches:
    """Questions of many coroutines, answered by one engine in batches."""

    def __init__(self, engine: Engine, journal: Journal[CompletionRow] | None) -> None:
        self._engine, self._journal = engine, journal
        self._queue: Queue[_Asked | None] = Queue()
        self._thread: Thread | None = None

    async def ask(self, request: Request, sampling: Sampling) -> Completion:
        if self._journal is not None and request.key in self._journal:
            return self._journal.rows[request.key].completion()
        if self._thread is None:
            self._thread = Thread(target=self._serve, daemon=True)
            self._thread.start()
        future: Future[Completion] = Future()
        self._queue.put((request, sampling, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, open_ = self._gather(first)
            for sampling in dict.fromkeys(sampling for _, sampling, _ in batch):
                self._answer([asked for asked in batch if asked[1] == sampling], sampling)
            if not open_:
                return

    def _gather(self, first: _Asked) -> tuple[list[_Asked], bool]:
        batch = [first]
        while len(batch) < AT_ONCE:
            try:
                following = self._queue.get(timeout=QUIET)
            except Empty:
                break
            if following is None:
                return batch, False
            batch.append(following)
        return batch, True

    def _answer(self, batch: list[_Asked], sampling: Sampling) -> None:
        waiting = {request.key: future for request, _, future in batch}
        try:
            for completion in self._engine.generate([asked[0] for asked in batch], sampling):
                if self._journal is not None:
                    self._journal.add(CompletionRow.of(completion))
                waiting.pop(completion.key).set_result(completion)
        except BaseException as error:  # told to those who wait, in whose thread it is raised
            for future in waiting.values():
                future.set_exception(error)

"""An engine that says what a test tells it to: a real `Engine`, only the model is a script."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from dgr.engines.base import Completion, Request, Requests, Sampling, Score, ScoreRequest
from dgr.engines.source import Source
from dgr.records import Finish

Script = Callable[[Request], tuple[str, str]]
"""What the model writes for a request: trace and answer. A pre-filled trace is not written."""


class ScriptedEngine:
    """Completions come from a script, in reverse order, as a real engine keeps none. Requests that
    hang on completions are asked for when all that are known have come.

    A word is a token, the closing tag and the end of the turn one each. Every token has the log
    probability `log_probability(word)`. A whole prompt is answered with the script's answer.
    """

    def __init__(
        self,
        script: Script,
        context_length: int = 4096,
        log_probability: Callable[[str], float] = lambda word: -1.0,
    ) -> None:
        self.script, self.context_length = script, context_length
        self.log_probability = log_probability
        self.requests: list[Request] = []
        self.batches: list[int] = []
        """How many requests were known at a time."""
        self.scored: list[list[ScoreRequest]] = []
        """One list a call."""
        self.die_after: int | None = None
        """Raise `KeyboardInterrupt` once so many completions have come out."""

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
        source = Source(requests)
        while known := source.known():
            self.batches.append(len(known))
            for request in reversed(known):
                assert self.fits(request, sampling.max_new_tokens), f"{request.key} does not fit"
                if self.die_after is not None and len(self.requests) >= self.die_after:
                    raise KeyboardInterrupt
                self.requests.append(request)
                yield self._complete(request, sampling.max_new_tokens)

    def _complete(self, request: Request, limit: int) -> Completion:
        trace, answer = self.script(request)
        if request.prompt is not None:
            words = answer.split()
            finish = Finish.STOP if len(words) < limit else Finish.LENGTH
            return Completion(request.key, "", answer, True, finish, min(len(words) + 1, limit))
        trace_words, answer_words = trace.split(" "), answer.split(" ")
        if request.trace is not None:
            tokens = len(answer_words) + 1
            finish = Finish.STOP if tokens <= limit else Finish.LENGTH
            cut = " ".join(answer_words[:limit])
            return Completion(request.key, request.trace, cut, True, finish, min(tokens, limit))
        closing = len(trace_words) + 1
        if closing > limit:
            cut = " ".join(trace_words[:limit])
            return Completion(request.key, cut, "", False, Finish.LENGTH, limit)
        if request.until == "trace":
            return Completion(request.key, trace, "", True, Finish.STOP, closing)
        tokens = closing + len(answer_words) + 1
        finish = Finish.STOP if tokens <= limit else Finish.LENGTH
        cut = " ".join(answer_words[: limit - closing])
        return Completion(request.key, trace, cut, True, finish, min(tokens, limit))

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Score]:
        found = list(requests)
        self.scored.append(found)
        for request in reversed(found):
            yield Score(request.key, self._score(request.trace), self._score(request.answer))

    def _score(self, text: str) -> list[float]:
        return [*map(self.log_probability, text.split()), -0.1]

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        prompt = f"{request.question} {request.trace or ''}".split()
        if request.prompt is not None:
            prompt = "".join(piece.text for piece in request.prompt).split()
        return len(prompt) + max_new_tokens <= self.context_length


def install(monkeypatch: pytest.MonkeyPatch, step: Any, engine: ScriptedEngine) -> ScriptedEngine:
    """Let a step's module load `engine`, whatever model it names."""
    monkeypatch.setattr(step, "load_engine", lambda config, model: engine)
    return engine

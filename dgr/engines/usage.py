"""What generation and scoring cost: tokens, time at work, and what the engine itself counted.

    with Metered(load_engine(config, model)) as engine:
        ...
        engine.cost()   # for timing.json: it differs from run to run

An engine that knows more than can be seen from outside tells it as `usage: Usage`.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from dgr.engines.base import (
    Completion,
    Engine,
    Request,
    Requests,
    Sampling,
    Score,
    ScoreRequest,
)
from dgr.engines.memory import release_memory

FoundT = TypeVar("FoundT")


@dataclass(frozen=True)
class Usage:
    """What an engine counted since it was loaded; None for what it cannot tell."""

    cached_tokens: int | None = None
    """Prompt tokens that a prefix cache held."""
    peak_device_mib: float | None = None
    """Most memory that it held, over all its devices."""
    devices: int | None = None
    """GPUs, or 1 for the CPU; a server elsewhere counts none."""


class Metered:
    """An engine that counts what goes through it. All else is the engine's own.

    At the end of its block the engine is let go, with its memory and, where it has a `close`, the
    processes that it had started.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self.context_length = engine, engine.context_length
        self.busy_seconds = 0.0
        self.prompt_tokens = self.generated_tokens = self.scored_tokens = 0

    def __getattr__(self, name: str) -> Any:
        if name == "_engine":
            raise AttributeError("the engine has been let go")
        return getattr(self._engine, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close = getattr(self._engine, "close", None)
        if close is not None:
            close()
        del self._engine
        release_memory()

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        return self._engine.fits(request, max_new_tokens)

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
        for completion in self._timed(self._engine.generate(requests, sampling)):
            self.prompt_tokens += completion.prompt_tokens
            self.generated_tokens += completion.tokens
            yield completion

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Score]:
        for score in self._timed(self._engine.score(requests)):
            self.scored_tokens += len(score.trace) + len(score.answer)
            yield score

    def compare(self, *arguments: Any) -> Iterator[Any]:
        compare: Callable[..., Iterator[Any]] = self._engine.compare
        for found in self._timed(compare(*arguments)):
            self.scored_tokens += len(found.trace) + len(found.answer)
            yield found

    def _timed(self, results: Iterator[FoundT]) -> Iterator[FoundT]:
        """The time that the engine has the turn, and none of its consumer's."""
        clock = time.perf_counter
        started = clock()
        for result in results:
            self.busy_seconds += clock() - started
            yield result
            started = clock()
        self.busy_seconds += clock() - started

    def cost(self) -> dict[str, float]:
        """Figures of this process's work; one that is not known is left out."""
        usage = getattr(self._engine, "usage", None) or Usage()
        devices = 1 if usage.devices is None else usage.devices
        busy = self.busy_seconds
        found: dict[str, float | None] = {
            "engine_seconds": round(busy, 6),
            "device_seconds": round(busy * devices, 6),
            "prompt_tokens": self.prompt_tokens,
            "generated_tokens": self.generated_tokens,
            "scored_tokens": self.scored_tokens,
            "generated_tokens_per_s": _ratio(self.generated_tokens, busy),
            "scored_tokens_per_s": _ratio(self.scored_tokens, busy),
            "cache_hit_share": None
            if usage.cached_tokens is None
            else _ratio(usage.cached_tokens, self.prompt_tokens),
            "peak_device_mib": usage.peak_device_mib or _peak_device_mib(),
        }
        return {name: value for name, value in found.items() if value is not None}


def _ratio(count: float, of: float) -> float | None:
    return round(count / of, 4) if count and of else None


def _peak_device_mib() -> float | None:
    """Of this process's GPUs; torch is asked only where something has loaded it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    devices = range(torch.cuda.device_count())
    held: int = sum(torch.cuda.max_memory_allocated(device) for device in devices)
    return round(held / (1 << 20), 1)

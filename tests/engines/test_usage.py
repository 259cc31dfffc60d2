"""What an engine's work costs: its own time and tokens, and what it tells of itself."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig, load_engine
from dgr.engines.base import Completion, Request, Sampling, ScoreRequest
from dgr.engines.usage import Metered, Usage
from tests.fakes import ScriptedEngine

ASKED = [Request(str(number), "question") for number in range(4)]


class Told(ScriptedEngine):
    """Takes 10 ms a completion, and tells what a real engine can."""

    usage = Usage(cached_tokens=6, peak_device_mib=700.0, devices=2)

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        for request in requests:
            time.sleep(0.01)
            yield Completion(request.key, "t", "a", True, "stop", 5, 3)  # type: ignore[arg-type]


def test_the_consumers_time_is_not_the_engines() -> None:
    metered = Metered(Told(lambda request: ("", "")))
    for _ in metered.generate(ASKED, Sampling()):
        time.sleep(0.02)
    cost = metered.cost()
    assert (cost["prompt_tokens"], cost["generated_tokens"], cost["scored_tokens"]) == (12, 20, 0)
    assert 0.04 <= cost["engine_seconds"] < metered.busy_seconds + 0.001
    assert cost["device_seconds"] == pytest.approx(2 * cost["engine_seconds"], abs=1e-5)
    assert cost["generated_tokens_per_s"] == pytest.approx(20 / metered.busy_seconds, rel=1e-3)
    assert (cost["cache_hit_share"], cost["peak_device_mib"]) == (0.5, 700.0)
    assert "scored_tokens_per_s" not in cost


def test_a_real_engine_counts_its_prompts(tiny_model: Path) -> None:
    metered: Any = Metered(load_engine(TransformersConfig(threads=1), tiny_model))
    found = list(metered.generate(ASKED[:2], Sampling(max_new_tokens=4)))
    prompt = len(metered.chat.prompt_ids("question"))  # what is not the meter's is the engine's
    assert [completion.prompt_tokens for completion in found] == [prompt, prompt]
    list(metered.score([ScoreRequest("1", "question", "a thought", "a word")]))
    cost = metered.cost()
    assert cost["prompt_tokens"] == 2 * prompt
    assert cost["scored_tokens"] > 4
    assert "cache_hit_share" not in cost and "peak_device_mib" not in cost


def test_an_engine_is_ended_and_let_go_with_its_block() -> None:
    ended = []

    class Process(Told):
        def close(self) -> None:
            ended.append(self)

    with pytest.raises(ZeroDivisionError), Metered(Process(lambda request: ("", ""))) as metered:
        raise ZeroDivisionError
    assert len(ended) == 1
    with pytest.raises(AttributeError, match="has been let go"):
        list(metered.generate(ASKED, Sampling()))

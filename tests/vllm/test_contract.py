"""The contract of engines, on a real vLLM. Runs in the environment that has it: make test-vllm."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import VllmConfig, load_engine
from dgr.engines.base import Engine, Request, Sampling, ScoreRequest
from tests.engines.conftest import chain_model, nano_adapter
from tests.engines.contract.contract import Contract, Make, reference
from tests.engines.models import NANO

pytest.importorskip("vllm")

__all__ = ["chain_model", "nano_adapter", "reference"]


def config(**changes: Any) -> VllmConfig:
    small = {"dtype": "float32", "eager": True, "cpu_cache_gib": 1, "max_running": 16}
    return VllmConfig(kind="vllm", **{**small, "max_adapters": 1, "scoring": "engine", **changes})


class TestVllm(Contract):
    # Matrix products of other shapes differ in the last bit.
    free_of_batch = False

    @pytest.fixture(scope="class")
    def make(self) -> Iterator[Make]:
        made: dict[Path, Any] = {}

        def load(model: Path, thinking: Any = "auto") -> Engine:
            if model not in made:
                for other in made.values():
                    other.close()
                made[model] = load_engine(config(thinking=thinking), model)
            engine: Engine = made[model]
            return engine

        yield load
        for engine in made.values():
            engine.close()


def test_there_is_one_copy_of_the_model(reference: Make) -> None:
    """Scores come from the transformers engine, for which vLLM makes room, and then starts anew."""
    engine: Any = load_engine(config(scoring="transformers", max_adapters=0), NANO)
    asked = [Request("r", "why?", seed=1)]
    sampling = Sampling(max_new_tokens=4)
    first = list(engine.generate(asked, sampling))
    assert multiprocessing.active_children()
    scored = [ScoreRequest("r", "why?", "1", "2")]
    assert list(engine.score(scored)) == list(reference(NANO).score(scored))
    assert not multiprocessing.active_children()
    assert list(engine.generate(asked, sampling)) == first
    engine.close()
    assert not multiprocessing.active_children()
